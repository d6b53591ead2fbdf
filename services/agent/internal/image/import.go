package image

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// Where an archive in OCI's form says what its images are called.
const (
	nameAnnotation = "io.containerd.image.name" // in full
	refAnnotation  = "org.opencontainers.image.ref.name"
)

// Import takes the images of an archive into the store, as `docker save`, or in OCI's form, gzipped or not. As names
// images without one are given is used, if not empty. It returns the references of what is there now; of several
// images those before the first that failed.
func (s *Store) Import(ctx context.Context, archive io.Reader, as string, progress func(string)) ([]string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	if err := os.MkdirAll(s.importDir(), 0o700); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(s.importDir(), "")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	file := filepath.Join(temp, "archive.tar")
	if err := s.keep(ctx, file, archive); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	found, err := named(temp, file, as)
	if err != nil {
		return nil, err
	}
	var done []string
	for _, one := range found {
		progress("importing " + one.ref.String())
		if _, err := s.take(ctx, one.image, one.ref, one.digest, progress); err != nil {
			return done, fmt.Errorf("importing %s: %w", one.ref, err)
		}
		done = append(done, one.ref.String())
	}
	return done, nil
}

// keep writes an archive to the disk, unpacked, as long as enough of it is left.
func (s *Store) keep(ctx context.Context, name string, archive io.Reader) error {
	in := io.Reader(bufio.NewReader(archive))
	if magic, _ := in.(*bufio.Reader).Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		in = z
	}
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var fs unix.Statfs_t
		if err := unix.Fstatfs(int(out.Fd()), &fs); err != nil {
			return err
		}
		const step = 16 << 20
		if int64(fs.Bavail)*fs.Bsize < s.opts.MinFree+step {
			return fmt.Errorf("less than %d bytes of the disk would be left", s.opts.MinFree)
		}
		switch _, err := io.CopyN(out, in, step); {
		case errors.Is(err, io.EOF):
			return out.Close()
		case err != nil:
			return err
		}
	}
}

// namedImage is an image of an archive under one of its names.
type namedImage struct {
	ref    Reference
	image  v1.Image
	digest string
}

// named finds the images of an archive; temp is a folder for what must be unpacked.
func named(temp, archive, as string) ([]namedImage, error) {
	open := func() (io.ReadCloser, error) { return os.Open(archive) }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		return namedOCI(temp, archive, as)
	}
	var out []namedImage
	for _, m := range manifest {
		tags := m.RepoTags
		if len(tags) == 0 && as != "" && len(manifest) == 1 {
			tags = []string{as}
		}
		if len(tags) == 0 {
			return nil, errNameless(len(manifest))
		}
		img, err := tarball.Image(open, tagOf(m.RepoTags))
		if err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		for _, tag := range tags {
			ref, err := ParseReference(tag)
			if err != nil {
				return nil, err
			}
			out = append(out, namedImage{ref: ref, image: img})
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the archive has no image")
	}
	return out, nil
}

// tagOf is what tells an image of an archive from the others; nil: there is one only.
func tagOf(tags []string) *name.Tag {
	for _, text := range tags {
		if tag, err := name.NewTag(text, name.WeakValidation); err == nil {
			return &tag
		}
	}
	return nil
}

func errNameless(images int) error {
	if images > 1 {
		return errors.New("one of several images of the archive has no name")
	}
	return errors.New("the image of the archive has no name: give it one")
}

// namedOCI reads an archive in the form of OCI's image layout.
func namedOCI(temp, archive, as string) ([]namedImage, error) {
	dir := filepath.Join(temp, "layout")
	if err := unpackLayout(archive, dir); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, errors.New("the archive is neither one of docker save nor in OCI's form")
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	var out []namedImage
	for _, d := range manifest.Manifests {
		text := d.Annotations[nameAnnotation]
		if ref := d.Annotations[refAnnotation]; text == "" && strings.ContainsAny(ref, "/:") { // else it is a tag of nothing
			text = ref
		}
		if text == "" && len(manifest.Manifests) == 1 {
			text = as
		}
		if text == "" {
			return nil, errNameless(len(manifest.Manifests))
		}
		ref, err := ParseReference(text)
		if err != nil {
			return nil, err
		}
		img, err := forThisMachine(index, d)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", ref, err)
		}
		out = append(out, namedImage{ref: ref, image: img, digest: d.Digest.String()})
	}
	if len(out) == 0 {
		return nil, errors.New("the archive has no image")
	}
	return out, nil
}

// forThisMachine is an image, or that of an index that runs here.
func forThisMachine(index v1.ImageIndex, d v1.Descriptor) (v1.Image, error) {
	if !d.MediaType.IsIndex() {
		return index.Image(d.Digest)
	}
	of, err := index.ImageIndex(d.Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := of.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, one := range manifest.Manifests {
		if p := one.Platform; p != nil && p.OS == "linux" && p.Architecture == runtime.GOARCH {
			return of.Image(one.Digest)
		}
	}
	return nil, fmt.Errorf("no image for linux/%s", runtime.GOARCH)
}

// unpackLayout writes what belongs to a layout into a folder, and nothing else.
func unpackLayout(archive, dir string) error {
	in, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer in.Close()
	t := tar.NewReader(in)
	for {
		header, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		name := path.Clean(header.Name)
		blob, _ := path.Match("blobs/*/*", name)
		if header.Typeflag != tar.TypeReg || !blob && name != "index.json" && name != "oci-layout" || strings.Contains(name, "..") {
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, path.Dir(name)), 0o700); err != nil {
			return err
		}
		out, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, t)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}
