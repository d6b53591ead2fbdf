package kit

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHealthAsClientsAskForIt(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	h.Group("gateway").Ready("store", func() error { return errors.New("away") })
	for name, c := range map[string]struct {
		method, path string
		code         int
		body         string
	}{
		"alive":                     {"GET", "/livez", 200, "ok"},
		"ping alone":                {"GET", "/healthz/ping?verbose", 200, "ok"},
		"by any method":             {"HEAD", "/livez/ping", 200, "ok"},
		"a check that is not there": {"GET", "/livez/gateway-store", 404, "404 page not found\n"},
		"not ready":                 {"GET", "/readyz", 500, "[+]ping ok\n[-]gateway-store failed: reason withheld\nreadyz check failed\n"},
		"the reason, alone":         {"GET", "/readyz/gateway-store", 500, "internal server error: away\n"},
		"but for what is excluded":  {"GET", "/readyz?verbose&exclude=gateway-store", 200, "[+]ping ok\n[+]gateway-store excluded: ok\nreadyz check passed\n"},
		"what cannot be excluded":   {"GET", "/livez?verbose&exclude=x&exclude=b&exclude=x", 200, "[+]ping ok\nwarn: some health checks cannot be excluded: no matches for \"b\",\"x\"\nlivez check passed\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.Handler().ServeHTTP(w, httptest.NewRequest(c.method, c.path, http.NoBody))
			if w.Code != c.code || w.Body.String() != c.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, c.code, c.body)
			}
		})
	}
}

func TestWhoObservesIsToldOfEachCheck(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	h.Group("gateway").Ready("store", func() error { return errors.New("away") })
	told := map[string]int{}
	h.Observe(func(path, check string, err error) { told[fmt.Sprint(path, " ", check, " ", err)]++ })
	for _, path := range []string{"/readyz?exclude=ping", "/readyz/ping", "/livez"} {
		h.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, http.NoBody))
	}
	// One that is asked for alone, or excluded, is nobody's business.
	if want := map[string]int{"readyz gateway-store away": 1, "livez ping <nil>": 1}; !maps.Equal(told, want) {
		t.Errorf("asked for: got %v, want %v", told, want)
	}
	clear(told)
	h.Run()
	want := map[string]int{"readyz gateway-store away": 1, "healthz gateway-store away": 1, "readyz ping <nil>": 1, "healthz ping <nil>": 1, "livez ping <nil>": 1}
	if !maps.Equal(told, want) {
		t.Errorf("run: got %v, want %v", told, want)
	}
}
