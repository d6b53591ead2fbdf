// Package registry is an OCI registry in this process, over plain HTTP, with the
// images of the examples and tests: busybox:1 (Debian's static busybox), web:v1 and
// web:v2 (test/images/web on top), web:crash (ends at once with code 3), and
// web:corrupt, one of whose layers is not what its digest says.
package registry

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Registry serves until Close.
type Registry struct {
	// Address is host:port; images are Address/NAME:TAG.
	Address string

	server  *http.Server
	corrupt string // digest whose blob is served wrong
}

// Start serves on an address (port 0: a free one) and pushes the images. webBinary
// is the built test/images/web.
func Start(listen, webBinary string) (*Registry, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("starting the registry: %w", err)
	}
	r := &Registry{Address: l.Addr().String()}
	quiet := log.New(io.Discard, "", 0)
	r.server = &http.Server{Handler: r.tamper(registry.New(registry.Logger(quiet))), ReadHeaderTimeout: 5 * time.Second, ErrorLog: quiet}
	go func() { _ = r.server.Serve(l) }() // ends with Close
	if err := r.fill(webBinary); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close stops serving.
func (r *Registry) Close() { _ = r.server.Close() }

// tamper changes one byte of the corrupt layer on its way out.
func (r *Registry) tamper(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if r.corrupt == "" || req.Method != http.MethodGet || !strings.HasSuffix(req.URL.Path, "/blobs/"+r.corrupt) {
			next.ServeHTTP(w, req)
			return
		}
		next.ServeHTTP(&corruptWriter{ResponseWriter: w}, req)
	})
}

type corruptWriter struct {
	http.ResponseWriter
	done bool
}

func (w *corruptWriter) Write(p []byte) (int, error) {
	if !w.done && len(p) > 64 {
		p = bytes.Clone(p)
		p[len(p)/2] ^= 0xff
		w.done = true
	}
	return w.ResponseWriter.Write(p)
}

func (r *Registry) fill(webBinary string) error {
	box, err := busybox()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(webBinary)
	if err != nil {
		return fmt.Errorf("reading the web image's program: %w", err)
	}
	layer, err := layerOf([]file{{name: "web", mode: 0o755, data: program}})
	if err != nil {
		return err
	}
	plain, err := image([]v1.Layer{box}, v1.Config{Cmd: []string{"/bin/sh"}})
	if err != nil {
		return err
	}
	if err := r.push("busybox:1", plain); err != nil {
		return err
	}
	for tag, config := range map[string]v1.Config{
		"v1":    {Entrypoint: []string{"/web"}, Env: []string{"VERSION=v1"}},
		"v2":    {Entrypoint: []string{"/web"}, Env: []string{"VERSION=v2"}},
		"crash": {Entrypoint: []string{"/bin/sh", "-c", "echo no luck; exit 3"}},
	} {
		img, err := image([]v1.Layer{box, layer}, config)
		if err != nil {
			return err
		}
		if err := r.push("web:"+tag, img); err != nil {
			return err
		}
	}
	return r.pushCorrupt(box)
}

func (r *Registry) pushCorrupt(box v1.Layer) error {
	layer, err := layerOf([]file{{name: "corrupt", mode: 0o644, data: bytes.Repeat([]byte("corrupt "), 4096)}})
	if err != nil {
		return err
	}
	img, err := image([]v1.Layer{box, layer}, v1.Config{Cmd: []string{"/bin/sh"}})
	if err != nil {
		return err
	}
	if err := r.push("web:corrupt", img); err != nil {
		return err
	}
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	r.corrupt = digest.String()
	return nil
}

func (r *Registry) push(image string, img v1.Image) error {
	ref, err := name.ParseReference(r.Address+"/"+image, name.Insecure)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, img); err != nil {
		return fmt.Errorf("pushing %s: %w", ref, err)
	}
	return nil
}

func image(layers []v1.Layer, config v1.Config) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	config.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, config.Env...)
	configFile, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	configFile = configFile.DeepCopy()
	configFile.Config = config
	configFile.OS, configFile.Architecture = "linux", runtime.GOARCH
	return mutate.ConfigFile(img, configFile)
}

type file struct {
	name string
	mode int64
	data []byte
	link string
	dir  bool
}

func layerOf(files []file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), Typeflag: tar.TypeReg}
		switch {
		case f.dir:
			h.Typeflag = tar.TypeDir
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	data := b.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
}

// busybox lays out Debian's static busybox with a link for each applet.
func busybox() (v1.Layer, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("the images need Debian's package busybox-static: %w", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading busybox: %w", err)
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("asking busybox for its applets: %w", err)
	}
	files := []file{
		{name: "bin/", mode: 0o755, dir: true}, {name: "etc/", mode: 0o755, dir: true},
		{name: "tmp/", mode: 0o1777, dir: true}, {name: "root/", mode: 0o700, dir: true},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnobody:x:65534:\n")},
		{name: "bin/busybox", mode: 0o755, data: program},
	}
	for applet := range strings.FieldsSeq(string(list)) {
		if applet != "busybox" {
			files = append(files, file{name: filepath.Join("bin", applet), link: "busybox"})
		}
	}
	return layerOf(files)
}
