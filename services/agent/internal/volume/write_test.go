package volume

import (
	"os"
	"path/filepath"
	"testing"
)

func holding(s string) File { return File{Data: []byte(s), Mode: 0o644, UID: -1} }

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	step := func(files map[string]File) {
		t.Helper()
		if err := Write(dir, files, -1); err != nil {
			t.Fatal(err)
		}
		for name, f := range files {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || string(data) != string(f.Data) {
				t.Errorf("%s: %q, %v, want %q", name, data, err, f.Data)
			}
		}
	}
	step(map[string]File{"a": holding("1"), "d/b": holding("2")})
	first, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil {
		t.Fatal(err)
	}
	step(map[string]File{"a": holding("1"), "d/b": holding("2")})
	if again, _ := os.Readlink(filepath.Join(dir, dataLink)); again != first {
		t.Error("unchanged content was written again")
	}
	open, err := os.Open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	step(map[string]File{"a": holding("3"), "c": holding("4")})
	if _, err := os.Lstat(filepath.Join(dir, "d")); !os.IsNotExist(err) {
		t.Errorf("what is no longer there is still visible: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, first)); !os.IsNotExist(err) {
		t.Errorf("the old content is still there: %v", err)
	}
	buf := make([]byte, 1)
	if _, err := open.Read(buf); err != nil || buf[0] != '1' {
		t.Errorf("an open file changed under its reader: %q, %v", buf, err)
	}
}

func TestWriteRemovesNothingThatALinkInTheVolumeLeadsTo(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(outside, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"out": outside, "..out": outside, dataLink: "out/sub"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(dir, map[string]File{"a": holding("1")}, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(outside, "sub")); err != nil {
		t.Errorf("what lies outside is gone: %v", err)
	}
}

func TestWriteRefusesPathsThatLeaveTheVolume(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"../x", "/x", "a/../../x", "..data", "..x", "", "a/./b", "a//b"} {
		if err := Write(t.TempDir(), map[string]File{name: holding("x")}, -1); err == nil {
			t.Errorf("%q was written", name)
		}
	}
}

func TestOpenBeneath(t *testing.T) {
	t.Parallel()
	root, outside := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(outside, "canary"), nil, 0o600))
	must(os.Symlink(outside, filepath.Join(root, "out")))
	must(os.Symlink("../"+filepath.Base(outside), filepath.Join(root, "up")))
	must(os.Mkdir(filepath.Join(root, "in"), 0o755))
	must(os.Symlink("in", filepath.Join(root, "inside")))
	must(os.Symlink("/proc/self/root", filepath.Join(root, "magic")))
	for sub, ok := range map[string]bool{"in": true, "inside": true, ".": true, "out": false, "out/canary": false, "up/canary": false, "magic/etc": false, "in/../in": true} {
		fd, err := openBeneath(root, sub)
		if (err == nil) != ok {
			t.Errorf("opening %q: %v, want allowed %v", sub, err, ok)
		}
		if err == nil {
			must(os.NewFile(uintptr(fd), sub).Close())
		}
	}
	if err := mkdirBeneath(root, "out/new"); err == nil {
		t.Error("a folder was made outside")
	}
	if _, err := os.Stat(filepath.Join(outside, "new")); err == nil {
		t.Error("a folder was made outside")
	}
	must(mkdirBeneath(root, "deep/er"))
}
