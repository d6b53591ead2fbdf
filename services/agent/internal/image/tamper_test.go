package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/layer"
	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/kit/kittest"
)

func owned(name string, mode int64, uid int) layertest.Item {
	d := layertest.Dir(name)
	d.Mode, d.Uid, d.Gid = mode, uid, uid
	return d
}

// merged mounts an image as a container would see it and tells owner and mode of a folder.
func merged(t *testing.T, s *Store, img *Image, name string) string {
	t.Helper()
	at := t.TempDir()
	if err := unix.Mount("overlay", at, "overlay", unix.MS_RDONLY, "lowerdir="+strings.Join(append(s.Lowers(img), t.TempDir()), ":")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(at, unix.MNT_DETACH) }()
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(at, name), &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %04o", st.Uid, st.Mode&0o7777)
}

// fingerprint is what a layer is on the disk.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		fmt.Fprintf(&out, "%s %o %d %d %d %d\n", path, st.Mode, st.Uid, st.Gid, st.Size, st.Ctim.Nano())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestFinding5AnImageCannotChangeALayerOfAnother(t *testing.T) {
	kittest.NeedRoot(t)
	victims := layertest.Archive(t, layertest.File("app/run", "#!"), layertest.File("usr/bin/tool", "#!")) // it describes no folder
	base := layertest.Archive(t, owned("usr/", 0o755, 0), owned("usr/bin/", 0o711, 7))
	evil := layertest.Archive(t, owned("app/", 0o777, 4242), owned("usr/", 0o777, 4242), owned("usr/bin/", 0, 4242))
	s := openStore(t, t.TempDir())
	pull := func(layers ...[]byte) *Image {
		result, err := s.Pull(t.Context(), parse(t, serve(t, nil, layers...)), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return result.Image
	}
	victim := pull(base, victims)
	before := fingerprint(t, filepath.Join(s.layersDir(), victim.Layers[1]))
	attacker := pull(evil, victims)
	if victim.Layers[1] != attacker.Layers[1] {
		t.Fatal("the layer is not shared, so this proves nothing")
	}
	if after := fingerprint(t, filepath.Join(s.layersDir(), victim.Layers[1])); after != before {
		t.Errorf("the layer was\n%s\nand is\n%s", before, after)
	}
	for name, want := range map[string][2]string{ // what the victim sees, what the attacker
		"app": {"0 0755", "4242 0777"}, "usr": {"0 0755", "4242 0777"}, "usr/bin": {"7 0711", "4242 0000"},
	} {
		if got := merged(t, s, victim, name); got != want[0] {
			t.Errorf("the victim sees %s as %s, want %s", name, got, want[0])
		}
		if got := merged(t, s, attacker, name); got != want[1] {
			t.Errorf("the attacker sees %s as %s, want %s", name, got, want[1])
		}
	}
}

func TestFoldersThatALayerDoesNotDescribeLookAsInTheLayersBelow(t *testing.T) {
	kittest.NeedRoot(t)
	for name, c := range map[string]struct {
		layers [][]layertest.Item
		want   string
	}{
		"described in the lowest of three":      {[][]layertest.Item{{owned("a/", 0o750, 3)}, {layertest.File("a/x", "")}, {layertest.File("a/y", "")}}, "3 0750"},
		"described above":                       {[][]layertest.Item{{owned("a/", 0o750, 3)}, {layertest.File("a/x", "")}, {owned("a/", 0o700, 5)}}, "5 0700"},
		"nowhere described":                     {[][]layertest.Item{{layertest.File("a/x", "")}, {layertest.File("a/y", "")}}, "0 0755"},
		"a file is in between":                  {[][]layertest.Item{{owned("a/", 0o750, 3)}, {layertest.File("a", "")}, {layertest.File("a/y", "")}}, "0 0755"},
		"a link is in between":                  {[][]layertest.Item{{owned("a/", 0o750, 3)}, {layertest.Symlink("a", "/b")}, {layertest.File("a/y", "")}}, "0 0755"},
		"taken away in between":                 {[][]layertest.Item{{owned("a/", 0o750, 3)}, {layertest.File(".wh.a", "")}, {layertest.File("a/y", "")}}, "0 0755"},
		"emptied, and so described, in between": {[][]layertest.Item{{owned("a/", 0o750, 3)}, {owned("a/", 0o701, 6), layertest.File("a/.wh..wh..opq", "")}, {layertest.File("a/y", "")}}, "6 0701"},
		"through a link that leads elsewhere":   {[][]layertest.Item{{owned("e/", 0o755, 0), owned("e/a/", 0o777, 9), layertest.Symlink("l", "e")}, {layertest.File("l/a/y", "")}}, "no such file or directory"},
		"taken away above":                      {[][]layertest.Item{{owned("a/", 0o750, 3)}, {layertest.File("a/x", "")}, {layertest.File(".wh.a", "")}}, "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			var layers [][]byte
			for _, items := range c.layers {
				layers = append(layers, layertest.Archive(t, items...))
			}
			s := openStore(t, t.TempDir())
			result, err := s.Pull(t.Context(), parse(t, serve(t, nil, layers...)), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := merged(t, s, result.Image, "a"); got != c.want {
				t.Errorf("a is %s, want %s", got, c.want)
			}
		})
	}
}

func TestFinding5ALayerOfAnotherDigestIsNotTakenForThere(t *testing.T) {
	kittest.NeedRoot(t)
	s := openStore(t, t.TempDir())
	data := layertest.Archive(t, layertest.File("a", "x"))
	result, err := s.Pull(t.Context(), parse(t, serve(t, nil, data)), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := s.layerInfo(result.Image.Layers[0])
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	swapped := strings.Replace(string(old), result.Image.Layers[0], result.Image.Layers[0]+"ff", 1) // the same beginning
	if err := os.WriteFile(path, []byte(swapped), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), parse(t, serve(t, nil, data)), nil, nil); err == nil {
		t.Error("it was taken")
	}
}

func TestFinding6AnImageIsBoundedAsAWhole(t *testing.T) {
	kittest.NeedRoot(t)
	one, two := layertest.Archive(t, layertest.File("a", strings.Repeat("x", 1<<20))), layertest.Archive(t, layertest.File("b", strings.Repeat("y", 1<<20)))
	for name, limit := range map[string]func(*Options){
		"bytes": func(o *Options) { o.MaxImageBytes = 3 << 19 },
		"disk":  func(o *Options) { o.MinFree = 1 << 60 },
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			limit(&s.opts)
			_, err := s.Pull(t.Context(), parse(t, serve(t, nil, one, two)), nil, nil)
			if err == nil || name == "disk" && !errors.Is(err, layer.ErrDiskFull) {
				t.Errorf("got %v", err)
			}
			for _, left := range layers(t, s) {
				if strings.Contains(left, ".") {
					t.Errorf("%s is left", left)
				}
			}
		})
	}
}
