package volume

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"kubus.dev/services/kit/kittest"
)

func TestVolumesOnTheDiskAreThoseThatAreNotMounted(t *testing.T) {
	kittest.NeedRoot(t)
	dir := t.TempDir()
	for _, v := range []string{"kubernetes.io~empty-dir/scratch", "kubernetes.io~empty-dir/memory", "kubernetes.io~configmap/settings"} {
		if err := os.MkdirAll(filepath.Join(dir, "volumes", v), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	memory := filepath.Join(dir, "volumes", "kubernetes.io~empty-dir", "memory")
	if err := unix.Mount("tmpfs", memory, "tmpfs", 0, "size=4096"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(memory, 0); err != nil {
			t.Error(err)
		}
	})
	got := maps.Collect(OnDisk(dir))
	if len(got) != 2 || got["scratch"] == "" || got["settings"] == "" {
		t.Errorf("on the disk are %v", got)
	}
	if n := len(maps.Collect(OnDisk(filepath.Join(dir, "not there")))); n != 0 {
		t.Errorf("a pod without a folder has %d volumes", n)
	}
}
