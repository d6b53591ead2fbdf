package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/kit/kittest"
)

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// FuzzConfig pulls images whose config is any bytes, by their right digest. A pull may fail; what it gives is whole.
func FuzzConfig(f *testing.F) {
	kittest.NeedRoot(f)
	blob := layertest.Archive(f, layertest.Dir("a/"), layertest.File("a/b", "x"))
	for _, seed := range []string{
		`{"os":"linux","rootfs":{"type":"layers","diff_ids":["` + sha(blob) + `"]},"config":{"User":"+1000","Env":["A"],"Entrypoint":[""]}}`,
		`{"rootfs":{"diff_ids":["` + sha(blob) + `"]},"config":{"Labels":null,"Volumes":{"../..":{}},"ExposedPorts":{"":{}}}}`,
		`{"rootfs":{"diff_ids":[null]}}`,
		`{"rootfs":{"diff_ids":[""]}}`,
		`{"rootfs":{"diff_ids":["sha256:00"]}}`,
		`{"rootfs":{"diff_ids":["sha512:` + strings.Repeat("0", 128) + `"]}}`,
		`{"rootfs":{"diff_ids":["sha256:` + strings.Repeat("/", 64) + `"]}}`,
		`{"rootfs":{"diff_ids":[]}}`,
		`{"config":{"Cmd":"no list"}}`,
		`null`,
		``,
	} {
		f.Add([]byte(seed))
	}
	var config atomic.Pointer[[]byte]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := *config.Load()
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			fmt.Fprintf(w, `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":%d,"digest":%q},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":%d,"digest":%q}]}`,
				len(now), sha(now), len(blob), sha(blob))
		case strings.HasSuffix(r.URL.Path, sha(now)):
			_, _ = w.Write(now)
		case strings.HasSuffix(r.URL.Path, sha(blob)):
			_, _ = w.Write(blob)
		}
	}))
	f.Cleanup(server.Close)
	f.Fuzz(func(t *testing.T, data []byte) {
		config.Store(&data)
		s := openStore(t, t.TempDir())
		ref, err := ParseReference(strings.TrimPrefix(server.URL, "http://") + "/x:t")
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Pull(t.Context(), ref, nil, nil)
		if err != nil {
			return
		}
		if got.Image.ID != sha(data) || len(got.Image.Layers) == 0 || !s.complete(got.Image) {
			t.Errorf("%s came as %+v", data, got.Image)
		}
	})
}
