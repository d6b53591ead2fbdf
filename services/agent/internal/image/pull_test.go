package image

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	fakeregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"go.uber.org/zap/zaptest"

	"kubus.dev/services/agent/internal/layer"
	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/agent/internal/registry"
	"kubus.dev/services/kit/kittest"
)

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Options{Dir: dir, Unpack: layer.Runner{Program: "/proc/self/exe"}, Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// serve runs a registry whose requests pass through wrap first, and pushes an image with these layers.
func serve(t testing.TB, wrap func(http.Handler) http.Handler, layers ...[]byte) string {
	t.Helper()
	inner := fakeregistry.New(fakeregistry.Logger(log.New(io.Discard, "", 0)))
	broken := atomic.Bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() && wrap != nil {
			wrap(inner).ServeHTTP(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	img := v1.Image(empty.Image)
	for _, data := range layers {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", ""
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	ref := strings.TrimPrefix(server.URL, "http://") + "/app:v1"
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(parsed, img); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	return ref
}

func parse(t testing.TB, ref string) Reference {
	t.Helper()
	r, err := ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReferencesAreNormalisedAsDockerDoes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"busybox":                 "docker.io/library/busybox:latest",
		"busybox:1.37":            "docker.io/library/busybox:1.37",
		"user/app":                "docker.io/user/app:latest",
		"quay.io/a/b:c":           "quay.io/a/b:c",
		"localhost:5000/a":        "localhost:5000/a:latest",
		"docker.io/library/x:y":   "docker.io/library/x:y",
		"index.docker.io/a/b":     "docker.io/a/b:latest",
		"127.0.0.1:5000/x/y/z:v1": "127.0.0.1:5000/x/y/z:v1",
	} {
		if got := parse(t, in).String(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	for _, bad := range []string{"", "UPPER/case", "a b", "x:tag:tag"} {
		if _, err := ParseReference(bad); err == nil || !strings.Contains(err.Error(), "couldn't parse image name") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAPulledImageIsThereAfterARestart(t *testing.T) {
	kittest.NeedRoot(t)
	folder := layertest.Dir("shared/")
	folder.Uid, folder.Mode = 33, 0o750
	ref := serve(t, nil, layertest.Archive(t, folder, layertest.File("shared/a", "low")), layertest.Archive(t, layertest.File("shared/b", "high")))
	data := t.TempDir()
	s := openStore(t, data)
	if _, err := s.Pull(t.Context(), parse(t, ref), nil, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openStore(t, data)
	img, ok := s.Resolve(ref)
	if !ok || len(img.Layers) != 3 || img.Size != 7 || len(img.Digests) != 1 {
		t.Fatalf("image: %+v", img)
	}
	if _, ok := s.Resolve(img.ID); !ok {
		t.Error("not found by id")
	}
	if _, ok := s.Resolve(img.Digests[0]); !ok {
		t.Error("not found by digest")
	}
	lowers := s.Lowers(img)
	if b, _ := os.ReadFile(filepath.Join(lowers[1], "shared/b")); string(b) != "high" {
		t.Errorf("the upper layer is not first: %v", lowers)
	}
	info, err := os.Stat(filepath.Join(lowers[0], "shared"))
	if err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("a folder that the layer does not describe: %v, %v", info.Mode(), err)
	}
	if err := s.Remove(img.ID, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(s.layersDir()); len(left) != 0 {
		t.Errorf("layers are left: %v", left)
	}
}

func TestAnImageThatWasNotOnTheDiskAtAPowerLossIsDropped(t *testing.T) {
	kittest.NeedRoot(t)
	ref := serve(t, nil, layertest.Archive(t, layertest.File("a", "x")))
	data := t.TempDir()
	s := openStore(t, data)
	if _, err := s.Pull(t.Context(), parse(t, ref), nil, nil); err != nil {
		t.Fatal(err)
	}
	s.Close() // nothing is made durable by itself any more
	if err := s.syncImages(); err != nil {
		t.Fatal(err)
	}
	img, _ := s.Resolve(ref)
	if img.Boot != "" {
		t.Errorf("after a sync: %q", img.Boot)
	}
	s.boot = "an earlier one"
	s.mu.Lock()
	unsafe := *img
	unsafe.Boot = s.boot
	s.images[img.ID] = &unsafe
	err := s.save(true)
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	s = openStore(t, data)
	if _, ok := s.Resolve(ref); ok {
		t.Error("it is still there")
	}
	if left, _ := os.ReadDir(s.layersDir()); len(left) != 0 {
		t.Errorf("its layers are left: %v", left)
	}
}

func TestALayerIsFetchedOnceForManyPulls(t *testing.T) {
	kittest.NeedRoot(t)
	var blobs atomic.Int32
	ref := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				blobs.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	}, layertest.Archive(t, layertest.File("a", strings.Repeat("x", 1<<20))))
	s := openStore(t, t.TempDir())
	var pulls sync.WaitGroup
	for range 8 {
		pulls.Go(func() {
			if _, err := s.Pull(t.Context(), parse(t, ref), nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
	pulls.Wait()
	if got := blobs.Load(); got > 1+8 { // the layer once, the config each time
		t.Errorf("%d blobs were fetched", got)
	}
}

func TestACorruptLayerIsAnErrorAndLeavesNothing(t *testing.T) {
	kittest.NeedRoot(t)
	for name, spoil := range map[string]func([]byte) []byte{
		"a flipped bit": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"cut short":     func(b []byte) []byte { return b[:len(b)/2] },
		"another blob":  func([]byte) []byte { return []byte("nonsense") },
	} {
		t.Run(name, func(t *testing.T) {
			ref := serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					rec := httptest.NewRecorder()
					next.ServeHTTP(rec, r)
					body := rec.Body.Bytes()
					if strings.Contains(r.URL.Path, "/blobs/") && len(body) > 3000 {
						body = spoil(bytes.Clone(body))
					}
					for k := range rec.Header() {
						if k != "Content-Length" {
							w.Header()[k] = rec.Header()[k]
						}
					}
					w.WriteHeader(rec.Code)
					_, _ = w.Write(body)
				})
			}, noise(t))
			s := openStore(t, t.TempDir())
			_, err := s.Pull(t.Context(), parse(t, ref), nil, nil)
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			if left, _ := os.ReadDir(s.layersDir()); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
			if len(s.List()) != 0 {
				t.Error("the image is listed")
			}
		})
	}
}

// noise is a layer that does not compress.
func noise(t testing.TB) []byte {
	b := make([]byte, 8192)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return layertest.Archive(t, layertest.File("noise", string(b)))
}

func TestErrorsSayWhatWasTriedAndWhy(t *testing.T) {
	kittest.NeedRoot(t)
	ref := serve(t, nil, layertest.Archive(t, layertest.File("a", "x")))
	s := openStore(t, t.TempDir())
	host, _, _ := strings.Cut(ref, "/")
	missing := host + "/nothing:v9"
	result, err := s.Pull(t.Context(), parse(t, missing), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "failed to resolve reference") || !strings.Contains(err.Error(), missing+": not found") {
		t.Errorf("missing image: %v", err)
	}
	if got := strings.Join(result.Endpoints, " "); !strings.Contains(got, "http://"+host+"/v2/nothing/manifests/v9") {
		t.Errorf("endpoints: %s", got)
	}
	_, err = s.Pull(t.Context(), parse(t, "127.0.0.1:1/x"), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("registry that is down: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = s.Pull(ctx, parse(t, ref), nil, nil); err == nil {
		t.Error("a cancelled pull succeeded")
	}
}

func TestPlainHTTPIsForLoopbackOnly(t *testing.T) {
	t.Parallel()
	c := newTransport(&registry.Endpoint{Host: "registry.lan:5000"}, "registry.lan:5000", []string{"registry.lan:5000"})
	for url, refused := range map[string]bool{"http://10.0.0.1:5000/v2/": true, "http://example.com/v2/": true} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		if refused && (err == nil || !strings.Contains(err.Error(), "refusing plain HTTP")) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
