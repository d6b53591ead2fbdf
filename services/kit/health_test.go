package kit

import (
	"errors"
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
