package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const arch = runtime.GOARCH

// tree collects the files of a layer. Errors are kept until it is made.
type tree struct {
	entries map[string]entry // by path in the image
	errs    []error
}

// entry is a file, a link or a folder.
type entry struct {
	from string // file of the machine
	link string // what a link says
	mode int64
}

func (t *tree) put(path string, e entry) {
	if t.entries == nil {
		t.entries = map[string]entry{}
	}
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		if _, there := t.entries[dir]; !there {
			t.entries[dir] = entry{mode: 0o755}
		}
	}
	t.entries[path] = e
}

// dir puts an empty folder.
func (t *tree) dir(path string) { t.put(path, entry{mode: 0o755}) }

// file puts a file of the machine at a path, with the rights that it has.
func (t *tree) file(path, from string) {
	info, err := os.Stat(from)
	if err != nil {
		t.errs = append(t.errs, err)
		return
	}
	t.put(path, entry{from: from, mode: int64(info.Mode().Perm())})
}

// same puts a file of the machine where it is there; links on the way to it stay links.
func (t *tree) same(path string) {
	for range 16 {
		real, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			t.errs = append(t.errs, err)
			return
		}
		if resolved := filepath.Join(real, filepath.Base(path)); resolved != path {
			t.put(path, entry{link: resolved})
			path = resolved
		}
		target, err := os.Readlink(path)
		if err != nil {
			t.file(path, path)
			return
		}
		t.put(path, entry{link: target})
		if path = target; !filepath.IsAbs(path) {
			path = filepath.Join(real, target)
		}
	}
	t.errs = append(t.errs, fmt.Errorf("%s: links without end", path))
}

// program puts a program of the machine with the libraries that it is linked with.
func (t *tree) program(name string) {
	path, err := exec.LookPath(name)
	if err != nil {
		t.errs = append(t.errs, err)
		return
	}
	t.same(path)
	t.libraries(path)
}

// matching puts the files of the machine that a pattern names, and their libraries.
func (t *tree) matching(pattern string) {
	found, err := filepath.Glob(pattern)
	t.errs = append(t.errs, err)
	for _, path := range found {
		t.same(path)
		t.libraries(path)
	}
}

var library = regexp.MustCompile(`(?m)(?:=> )?(/\S+) \(0x`)

// libraries puts what the loader says that a program needs; of what is not dynamic, nothing.
func (t *tree) libraries(path string) {
	f, err := elf.Open(path)
	if err != nil {
		return // no program
	}
	defer f.Close()
	if needed, err := f.ImportedLibraries(); err != nil || len(needed) == 0 {
		return
	}
	out, err := exec.Command("ldd", path).CombinedOutput()
	if err != nil {
		t.errs = append(t.errs, fmt.Errorf("ldd %s: %w: %s", path, err, bytes.TrimSpace(out)))
		return
	}
	for _, found := range library.FindAllSubmatch(out, -1) {
		t.same(string(found[1]))
	}
}

// layer makes the layer: folders before what is in them, no times, root's.
func (t *tree) layer() (v1.Layer, error) {
	if err := errors.Join(t.errs...); err != nil {
		return nil, err
	}
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	paths := make([]string, 0, len(t.entries))
	for path := range t.entries {
		paths = append(paths, path)
	}
	slices.SortFunc(paths, cmp.Compare)
	for _, path := range paths {
		if err := t.entries[path].write(w, strings.TrimPrefix(path, "/")); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data.Bytes())), nil })
}

func (e entry) write(w *tar.Writer, name string) error {
	h := &tar.Header{Name: name, Mode: e.mode, Format: tar.FormatPAX}
	switch {
	case e.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
	case e.from == "":
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	}
	if e.from == "" {
		return w.WriteHeader(h)
	}
	data, err := os.ReadFile(e.from)
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
