package image

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap/zaptest"

	"kubus.dev/services/agent/internal/layer"
	"kubus.dev/services/agent/internal/layertest"
	"kubus.dev/services/agent/internal/registry"
	"kubus.dev/services/kit/kittest"
)

// asked notes the requests of a server that follow the image's push.
type asked struct {
	mu   sync.Mutex
	urls []string
	auth map[string]bool
}

func (a *asked) wrap(then func(w http.ResponseWriter, r *http.Request) bool) func(http.Handler) http.Handler {
	return func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a.mu.Lock()
			a.urls = append(a.urls, r.Method+" "+r.URL.RequestURI())
			if a.auth == nil {
				a.auth = map[string]bool{}
			}
			a.auth[r.Header.Get("Authorization")] = true
			a.mu.Unlock()
			if then == nil || !then(w, r) {
				inner.ServeHTTP(w, r)
			}
		})
	}
}

// configured opens a store whose settings are this registries.yaml, and gives a function that
// changes them.
func configured(t *testing.T, text string) (*Store, func(string)) {
	t.Helper()
	dir := t.TempDir()
	settings := registry.Settings{File: filepath.Join(dir, "registries.yaml")}
	write := func(text string) {
		if err := os.WriteFile(settings.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	s, err := Open(Options{Dir: dir, Registries: settings, Unpack: layer.Runner{Program: "/proc/self/exe"}, Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, write
}

func TestAMirrorIsAskedInTheRegistrysPlace(t *testing.T) {
	kittest.NeedRoot(t)
	var a asked
	host, _, _ := strings.Cut(serve(t, a.wrap(nil), layertest.Archive(t, layertest.File("a", "b"))), "/")
	s, _ := configured(t, fmt.Sprintf(`mirrors: {registry.invalid: {endpoint: ["http://%s"], rewrite: {"^team/(.*)": "$1"}}}`, host))
	result, err := s.Pull(t.Context(), parse(t, "registry.invalid/team/app:v1"), []Credential{{Username: "ann", Password: "secret"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := result.Image.Tags; len(got) != 1 || got[0] != "registry.invalid/team/app:v1" {
		t.Errorf("the image's names are %v", got)
	}
	if len(a.auth) != 1 || !a.auth[""] {
		t.Errorf("the mirror was shown %v", a.auth)
	}
	if urls := fmt.Sprint(a.urls); !strings.Contains(urls, "/v2/app/manifests/v1?ns=registry.invalid") {
		t.Errorf("the mirror was asked %s", urls)
	}
	if len(result.Endpoints) == 0 || !strings.HasPrefix(result.Endpoints[0], "http://"+host+"/v2/") {
		t.Errorf("asked were %v", result.Endpoints)
	}
}

func TestTheRegistryItselfIsAskedWhenMirrorsDoNotHaveAnImage(t *testing.T) {
	kittest.NeedRoot(t)
	var a asked
	mirror, _, _ := strings.Cut(serve(t, a.wrap(func(w http.ResponseWriter, r *http.Request) bool {
		http.Error(w, "no", http.StatusInternalServerError)
		return true
	})), "/")
	ref := serve(t, nil, layertest.Archive(t, layertest.File("a", "b")))
	host, _, _ := strings.Cut(ref, "/")
	s, write := configured(t, fmt.Sprintf(`mirrors: {"%s": {endpoint: ["http://%s/cache"]}}`, host, mirror))
	if _, err := s.Pull(t.Context(), parse(t, ref), nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(a.urls) == 0 || a.urls[0] != "GET /cache/v2/" {
		t.Errorf("the mirror was asked %v", a.urls)
	}

	asked := len(a.urls)
	write("{}") // counts for the next pull
	if _, err := s.Pull(t.Context(), parse(t, ref), nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(a.urls) != asked {
		t.Errorf("a mirror that is no more was asked: %v", a.urls[asked:])
	}

	write("mirrors: 7")
	if _, err := s.Pull(t.Context(), parse(t, ref), nil, nil); err == nil || !strings.Contains(err.Error(), "registries.yaml") {
		t.Errorf("with a broken file: %v", err)
	}
	write(fmt.Sprintf(`mirrors: {"%s": {endpoint: ["http://%s"]}}`, host, mirror))
	_, err := s.Pull(t.Context(), parse(t, host+"/absent:v1"), nil, nil)
	if err == nil || !strings.Contains(err.Error(), "absent:v1: not found") || !strings.Contains(err.Error(), "of mirrors: "+mirror) {
		t.Errorf("when nobody has it: %v", err)
	}
}

func TestAMirrorThatMayNotResolveIsAskedByDigest(t *testing.T) {
	kittest.NeedRoot(t)
	var a, b asked
	layers := layertest.Archive(t, layertest.File("a", "b"))
	mirror, _, _ := strings.Cut(serve(t, a.wrap(nil), layers), "/")
	ref := serve(t, b.wrap(nil), layers)
	host, _, _ := strings.Cut(ref, "/")
	dir := t.TempDir()
	hosts := filepath.Join(dir, "certs.d", host)
	if err := os.MkdirAll(hosts, 0o700); err != nil {
		t.Fatal(err)
	}
	// The registry itself, asked last, says what a tag stands for, and is not asked for images.
	text := fmt.Sprintf("[host.\"http://%s\"]\ncapabilities = [\"pull\"]\n", mirror)
	if err := os.WriteFile(filepath.Join(hosts, "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(Options{Dir: dir, Registries: registry.Settings{Dir: filepath.Join(dir, "certs.d")}, Unpack: layer.Runner{Program: "/proc/self/exe"}, Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	result, err := s.Pull(t.Context(), parse(t, ref), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	digest := result.Image.Digests[0][strings.Index(result.Image.Digests[0], "@")+1:]
	if urls := fmt.Sprint(a.urls); !strings.Contains(urls, "/v2/app/manifests/"+digest) || strings.Contains(urls, "manifests/v1") {
		t.Errorf("the mirror was asked %s", urls)
	}
	if urls := fmt.Sprint(b.urls); !strings.Contains(urls, "HEAD /v2/app/manifests/v1") || strings.Contains(urls, "blobs") {
		t.Errorf("the registry was asked %s", urls)
	}
}

func TestALoginOfTheSettingsIsShownToItsHostAlone(t *testing.T) {
	kittest.NeedRoot(t)
	var mirrors, own asked
	basic := func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == "node" && password == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="images"`)
		http.Error(w, "who are you", http.StatusUnauthorized)
		return true
	}
	ref := serve(t, own.wrap(basic), layertest.Archive(t, layertest.File("a", "b")))
	mirror, _, _ := strings.Cut(serve(t, mirrors.wrap(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="mirror"`)
		http.Error(w, "who are you", http.StatusUnauthorized)
		return true
	})), "/")
	host, _, _ := strings.Cut(ref, "/")
	s, _ := configured(t, fmt.Sprintf(`{mirrors: {"%s": {endpoint: ["http://%s"]}}, configs: {"%s": {auth: {username: node, password: secret}}}}`, host, mirror, host))
	if _, err := s.Pull(t.Context(), parse(t, ref), []Credential{{Username: "pod", Password: "other"}}, nil); err != nil {
		t.Fatal(err)
	}
	if len(mirrors.auth) != 1 || !mirrors.auth[""] {
		t.Errorf("the mirror was shown %v", mirrors.auth)
	}
}
