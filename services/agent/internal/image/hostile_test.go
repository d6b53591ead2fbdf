package image

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"kubus.dev/services/agent/internal/registry"
)

func TestARegistryCannotSendUsToThisMachine(t *testing.T) {
	t.Parallel()
	c := newTransport(&registry.Endpoint{Host: "registry.example.com"}, "registry.example.com", []string{"10.0.0.9:5000"})
	for _, url := range []string{
		"http://127.0.0.1:10250/secret", "https://127.0.0.1/", "http://localhost:8080/", "https://a.localhost/", "https://169.254.169.254/latest/meta-data",
		"https://[::1]/", "https://[fe80::1]/", "https://0.0.0.0/", "https://[::ffff:127.0.0.1]/", "http://192.0.2.1/token",
	} {
		req := httptest.NewRequest(http.MethodGet, url, nil)
		if _, err := c.RoundTrip(req); err == nil || !strings.Contains(err.Error(), "refusing") {
			t.Errorf("%s: got %v", url, err)
		}
	}
}

func TestATokensRealmOnThisMachineIsNotAsked(t *testing.T) {
	t.Parallel()
	asked := atomic.Bool{}
	local := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Store(true)
		fmt.Fprint(w, `{"secret":"hunter2"}`)
	}))
	t.Cleanup(local.Close)
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/",service="x"`, local.URL))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(images.Close)
	s := openStore(t, t.TempDir())
	_, err := s.Pull(t.Context(), parse(t, strings.TrimPrefix(images.URL, "http://")+"/a:b"), nil, nil)
	if err == nil || asked.Load() || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("asked: %v, got %v", asked.Load(), err)
	}
}

func TestAHugeConfigIsNotReadIntoMemory(t *testing.T) {
	t.Parallel()
	asked := atomic.Bool{}
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_ = json.NewEncoder(w).Encode(map[string]any{
				"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []any{},
				"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": int64(1) << 40},
			})
		case strings.Contains(r.URL.Path, "/blobs/"):
			asked.Store(true)
		}
	}))
	t.Cleanup(images.Close)
	s := openStore(t, t.TempDir())
	_, err := s.Pull(t.Context(), parse(t, strings.TrimPrefix(images.URL, "http://")+"/a:b"), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "allowed") || asked.Load() {
		t.Errorf("asked: %v, got %v", asked.Load(), err)
	}
}
