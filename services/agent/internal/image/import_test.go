package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/kit/kittest"
)

// built is an image with one file for an architecture.
func built(t *testing.T, file, architecture string) v1.Image {
	t.Helper()
	data := layertest.Archive(t, layertest.File(file, "x"))
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}

// saved is what docker save writes of images.
func saved(t *testing.T, images map[string]v1.Image) []byte {
	t.Helper()
	tags := map[name.Tag]v1.Image{}
	for text, img := range images {
		tag, err := name.NewTag(text)
		if err != nil {
			t.Fatal(err)
		}
		tags[tag] = img
	}
	var out bytes.Buffer
	if err := tarball.MultiWrite(tags, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// oci is an archive in OCI's form, with a file more that does not belong there.
func oci(t *testing.T, add func(p layout.Path) error) []byte {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := add(p); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "../../outside", Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, _ := filepath.Rel(dir, path)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + relative, Mode: 0o600, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAnArchivesImagesAreThere(t *testing.T) {
	kittest.NeedRoot(t)
	named := layout.WithAnnotations(map[string]string{nameAnnotation: "registry.invalid/app:v1"})
	for title, c := range map[string]struct {
		archive []byte
		as      string
		want    []string
	}{
		"docker save": {archive: saved(t, map[string]v1.Image{"registry.invalid/app:v1": built(t, "a", "")}), want: []string{"registry.invalid/app:v1"}},
		"docker save of several": {archive: saved(t, map[string]v1.Image{"registry.invalid/app:v1": built(t, "a", ""), "registry.invalid/app:v2": built(t, "b", "")}),
			want: []string{"registry.invalid/app:v1", "registry.invalid/app:v2"}},
		"OCI": {archive: oci(t, func(p layout.Path) error { return p.AppendImage(built(t, "a", ""), named) }), want: []string{"registry.invalid/app:v1"}},
		"OCI, of several machines": {archive: oci(t, func(p layout.Path) error {
			index := v1.ImageIndex(empty.Index)
			for _, arch := range []string{"strange", runtime.GOARCH} {
				index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: built(t, arch, arch), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
			}
			return p.AppendIndex(index, named)
		}), want: []string{"registry.invalid/app:v1"}},
		"OCI without a name, which is given": {archive: oci(t, func(p layout.Path) error { return p.AppendImage(built(t, "a", "")) }), as: "app", want: []string{"docker.io/library/app:latest"}},
	} {
		for _, packed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, gzipped %v", title, packed), func(t *testing.T) {
				archive := bytes.NewBuffer(nil)
				if packed {
					w := gzip.NewWriter(archive)
					_, err := w.Write(c.archive)
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
					if err != nil {
						t.Fatal(err)
					}
				} else {
					archive.Write(c.archive)
				}
				dir := t.TempDir()
				s := openStore(t, dir)
				names, err := s.Import(t.Context(), archive, c.as, nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range c.want {
					img, ok := s.Resolve(want)
					if !ok || img.Size != 1 {
						t.Errorf("%s is not there: %v", want, names)
					}
				}
				if len(names) != len(c.want) {
					t.Errorf("imported %v, want %v", names, c.want)
				}
				if left, _ := os.ReadDir(s.importDir()); len(left) > 0 {
					t.Errorf("left is %v", left)
				}
			})
		}
	}
}

func TestAnArchiveThatCannotBeTakenSaysWhy(t *testing.T) {
	kittest.NeedRoot(t)
	two := oci(t, func(p layout.Path) error {
		if err := p.AppendImage(built(t, "a", "")); err != nil {
			return err
		}
		return p.AppendImage(built(t, "b", ""))
	})
	one := saved(t, map[string]v1.Image{"registry.invalid/app:v1": built(t, "a", "strange")})
	for title, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"nothing":                    {nil, "neither one of docker save nor in OCI's form"},
		"no archive":                 {[]byte(strings.Repeat("x", 4096)), "reading the archive"},
		"half a gzip":                {[]byte("\x1f\x8b\x08\x00"), "reading the archive"},
		"an image without a name":    {oci(t, func(p layout.Path) error { return p.AppendImage(built(t, "a", "")) }), "give it one"},
		"several without names":      {two, "one of several images of the archive has no name"},
		"an image of other machines": {one, "no match for platform"},
		"an archive that is cut":     {one[:len(one)/2], "archive"},
	} {
		t.Run(title, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			names, err := s.Import(t.Context(), bytes.NewReader(c.archive), "", nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(names) > 0 {
				t.Errorf("%v, %v, want %q", names, err, c.want)
			}
			if left, _ := os.ReadDir(s.importDir()); len(left) > 0 {
				t.Errorf("left is %v", left)
			}
		})
	}
}
