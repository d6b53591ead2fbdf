// Package layertest writes archives for tests: layers of images as registries serve them, good ones and hostile ones.
//
// Start with Archive and the items it takes.
package layertest

import (
	"archive/tar"
	"bytes"
	"testing"
	"time"
)

// Item is one entry of an archive; its size is that of its data.
type Item struct {
	tar.Header
	Data string
}

// Dir is a folder that anybody may enter.
func Dir(name string) Item {
	return Item{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

// File is a file that anybody may read.
func File(name, data string) Item {
	return Item{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, Data: data}
}

// Program is a file that anybody may run.
func Program(name, data string) Item {
	return Item{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755}, Data: data}
}

// Symlink is a symbolic link.
func Symlink(name, target string) Item {
	return Item{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}}
}

// Hardlink is another name of an earlier entry.
func Hardlink(name, target string) Item {
	return Item{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}}
}

// Archive writes the items in their order; those without a time get the same one.
func Archive(t testing.TB, items ...Item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, i := range items {
		i.Size = int64(len(i.Data))
		if i.ModTime.IsZero() {
			i.ModTime = time.Unix(1e9, 0)
		}
		if err := w.WriteHeader(&i.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.Data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
