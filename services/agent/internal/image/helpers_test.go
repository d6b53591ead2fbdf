package image

import (
	"archive/tar"
	"bytes"
	"os"
	"testing"
	"time"

	"kubus.dev/services/agent/internal/layer"
)

// TestMain lets the store unpack in processes of this very program.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == layer.Command {
		layer.Main(os.Args[2])
	}
	os.Exit(m.Run())
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI must run this as root")
		}
		t.Skip("needs root")
	}
}

type item struct {
	tar.Header
	data string
}

func dir(name string) item {
	return item{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}
func file(name, data string) item {
	return item{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, data: data}
}
func symlink(name, target string) item {
	return item{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}}
}

func archive(t testing.TB, items ...item) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, i := range items {
		i.Size = int64(len(i.data))
		if i.ModTime.IsZero() {
			i.ModTime = time.Unix(1e9, 0)
		}
		if err := w.WriteHeader(&i.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
