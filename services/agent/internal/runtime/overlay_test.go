package runtime

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/agent/internal/tree"
)

func TestAnImageIsShownReadOnly(t *testing.T) {
	n := newTestNode(t)
	bin := busyboxImage(t)
	for name, c := range map[string]struct {
		image v1.Image
		file  string // one of its files; empty: it has none
	}{
		"of one layer":      {bin, "bin/busybox"},
		"of several layers": {appended(t, bin), "etc/more"},
		"of no layer":       {empty.Image, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ref := push(t, c.image, "shown/image:1")
			dir := filepath.Join(n.opts.DataDir, "shown", strings.ReplaceAll(name, " ", "-"))
			if err := n.MountImage(ref, dir); !errors.Is(err, ErrNotFound) {
				t.Fatalf("before it is pulled: %v", err)
			}
			n.pull(ref)
			for range 2 { // the second finds it there
				if err := n.MountImage(ref, dir); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() {
				if err := tree.Clear(filepath.Dir(dir)); err != nil {
					t.Error(err)
				}
			})
			if mounts, err := tree.Mounts(filepath.Dir(dir)); err != nil || len(mounts) != 1 {
				t.Errorf("mounts: %v, %v", mounts, err)
			}
			if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o600); !errors.Is(err, unix.EROFS) {
				t.Errorf("writing there: %v", err)
			}
			var fs unix.Statfs_t
			if err := unix.Statfs(dir, &fs); err != nil || fs.Flags&(unix.ST_NOEXEC|unix.ST_NOSUID|unix.ST_NODEV) != unix.ST_NOEXEC|unix.ST_NOSUID|unix.ST_NODEV {
				t.Errorf("mounted with flags %x, %v", fs.Flags, err)
			}
			if c.file == "" {
				return
			}
			if _, err := os.Stat(filepath.Join(dir, c.file)); err != nil {
				t.Error(err)
			}
			id := n.run(n.pod(nil), n.pull(push(t, bin, "library/busybox:1")), "ls /shown; touch /shown/x; /shown/bin/busybox true", func(spec *ContainerSpec) {
				spec.Mounts = []Mount{{HostPath: dir, ContainerPath: "/shown", ReadOnly: true, NoExec: true}}
			})
			n.end(id)
			if out := n.log(id); !strings.Contains(out, "bin") || !strings.Contains(out, "Read-only file system") || !strings.Contains(out, "Permission denied") {
				t.Errorf("a container sees %s", out)
			}
		})
	}
}

// appended is the image with one more layer.
func appended(t *testing.T, image v1.Image) v1.Image {
	t.Helper()
	blob := layertest.Archive(t, layertest.File("etc/more", "more"))
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(blob)), nil })
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, layer); err != nil {
		t.Fatal(err)
	}
	return image
}
