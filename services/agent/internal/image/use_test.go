package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/kit/kittest"
)

// later is a time at which nothing has been used yet.
func later() time.Time { return time.Now().Add(time.Hour) }

// pull gets an image of one layer with one file, named and filled as given.
func pull(t *testing.T, s *Store, name, content string) *Image {
	t.Helper()
	kittest.NeedRoot(t)
	ref := serve(t, nil, layertest.Archive(t, layertest.File(name, content)))
	result, err := s.Pull(t.Context(), parse(t, ref), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return result.Image
}

func layers(t *testing.T, s *Store) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(s.layersDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAnImageThatIsHeldStays(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	img := pull(t, s, "a", "1")
	_, release, ok := s.Hold(img.ID)
	if !ok {
		t.Fatal("the image is not there")
	}
	if err := s.Remove(img.ID, later()); !errors.Is(err, ErrInUse) {
		t.Errorf("while it is held: %v", err)
	}
	before := time.Now()
	release()
	if err := s.Remove(img.ID, before); !errors.Is(err, ErrInUse) {
		t.Errorf("used since: %v", err)
	}
	if err := s.Remove(img.ID, later()); err != nil || len(layers(t, s)) != 0 {
		t.Errorf("afterwards: %v, layers %q", err, layers(t, s))
	}
	if _, _, ok := s.Hold(img.ID); ok {
		t.Error("an image that is gone can be held")
	}
}

func TestUsesTellWhenAndHow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	before := time.Now()
	img := pull(t, s, "a", "12345")
	_, release, _ := s.Hold(img.ID)
	defer release()
	uses, err := s.Uses()
	if err != nil || len(uses) != 1 {
		t.Fatal(uses, err)
	}
	if u := uses[0]; u.ID != img.ID || u.Found.Before(before) || u.Used.Before(u.Found) || !u.Held || len(u.Layers) != 1 || u.Layers[0].Size != 5 {
		t.Errorf("got %+v", u)
	}
	s.Close()
	again := openStore(t, dir)
	if uses, err = again.Uses(); err != nil || len(uses) != 1 || !uses[0].Used.IsZero() || uses[0].Found.IsZero() || uses[0].Held {
		t.Errorf("after a restart: %+v, %v", uses, err)
	}
}

func TestALayerGoesWithItsLastImage(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	kittest.NeedRoot(t)
	base, top := layertest.Archive(t, layertest.File("base", "b")), layertest.Archive(t, layertest.File("top", "t"))
	var images []*Image
	for _, stack := range [][][]byte{{base}, {base, top}} {
		result, err := s.Pull(t.Context(), parse(t, serve(t, nil, stack...)), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, result.Image)
	}
	if err := s.Remove(images[1].ID, later()); err != nil {
		t.Fatal(err)
	}
	if left := layers(t, s); len(left) != 1 || left[0] != images[0].Layers[0] {
		t.Errorf("left are %q", left)
	}
	if _, err := os.Stat(filepath.Join(s.Lowers(images[0])[0], "base")); err != nil {
		t.Error(err)
	}
}

func TestALayerThatAPullNeedsStays(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	img := pull(t, s, "a", "1")
	unpin := s.pin(img.Layers)
	if err := s.Remove(img.ID, later()); err != nil || len(layers(t, s)) != 1 {
		t.Errorf("%v, layers %q", err, layers(t, s))
	}
	unpin()
	if err := s.Sweep(); err != nil || len(layers(t, s)) != 0 {
		t.Errorf("%v, layers %q", err, layers(t, s))
	}
}

func TestARemovalCutOffIsFinishedAtTheNextStart(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(t *testing.T, s *Store, img *Image){
		"after the index": func(t *testing.T, s *Store, img *Image) {
			if err := s.forget(img.ID, later()); err != nil {
				t.Error(err)
			}
		},
		"after the layer was set aside": func(t *testing.T, s *Store, img *Image) {
			if err := s.forget(img.ID, later()); err != nil {
				t.Error(err)
			}
			if gone, err := s.setAside(); err != nil || len(gone) != 1 || !strings.HasSuffix(gone[0], goneSuffix) {
				t.Error(gone, err)
			}
		},
		"and the index was lost": func(t *testing.T, s *Store, img *Image) {
			index, err := os.ReadFile(s.indexPath())
			if err != nil {
				t.Error(err)
			}
			if err := s.Remove(img.ID, later()); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(s.indexPath(), index, 0o600); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openStore(t, dir)
			gone, kept := pull(t, s, "a", "1"), pull(t, s, "b", "2")
			s.Close() // nothing is made durable by itself any more
			cut(t, s, gone)
			again := openStore(t, dir)
			if _, there := again.Resolve(gone.ID); there {
				t.Error("the image is there again")
			}
			if _, there := again.Resolve(kept.ID); !there {
				t.Error("the other image is gone")
			}
			if left := layers(t, again); len(left) != 1 || left[0] != kept.Layers[0] {
				t.Errorf("left are %q", left)
			}
		})
	}
}

func TestAFullDiskHindersNoRemoval(t *testing.T) {
	kittest.NeedRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		kittest.Lack(t, "the right to mount: "+err.Error())
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s := openStore(t, dir)
	img := pull(t, s, "a", strings.Repeat("x", 50000))
	fill := make([]byte, 4096)
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(fill)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(img.ID, later()); err != nil {
		t.Error(err)
	}
	if left := layers(t, s); len(left) != 0 {
		t.Errorf("left are %q", left)
	}
	if index, err := os.ReadFile(s.indexPath()); err != nil || strings.Contains(string(index), img.ID) {
		t.Errorf("the index has it: %s, %v", index, err)
	}
}
