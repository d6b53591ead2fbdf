package memory

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/tree"
	"kubus.dev/services/kit/kittest"
)

func kind(t *testing.T, dir string) int64 {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	return fs.Type
}

func TestAFolderInMemoryIsMadeOnce(t *testing.T) {
	kittest.NeedRoot(t)
	top := t.TempDir()
	if kind(t, top) == unix.TMPFS_MAGIC {
		t.Skip("the disk is memory already")
	}
	dir, used := filepath.Join(top, "memory"), filepath.Join(top, "used")
	t.Cleanup(func() { _ = tree.UnmountBelow(top) })
	if err := Mount(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Mount(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "secret")); err != nil || kind(t, dir) != unix.TMPFS_MAGIC {
		t.Errorf("the file: %v; the file system: %x", err, kind(t, dir))
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its mode: %v, %v", info.Mode(), err)
	}
	if err := os.MkdirAll(filepath.Join(used, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Mount(used); err != nil || kind(t, used) == unix.TMPFS_MAGIC {
		t.Errorf("a folder in use: %v; the file system: %x", err, kind(t, used))
	}
}
