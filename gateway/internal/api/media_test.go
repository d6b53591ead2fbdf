package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestMediaTypesThatNoRouteTakes(t *testing.T) {
	t.Parallel()
	const json, patch = "application/json", "application/merge-patch+json"
	for name, c := range map[string]struct {
		verb, content, accept string
		code                  int
		message               string
	}{
		"nothing asked for":                       {"get", "", "", 0, ""},
		"anything":                                {"get", "", "text/html, */*;q=0.1", 0, ""},
		"parameters are for the handlers":         {"get", "", "application/json;as=Table;v=v9", 0, ""},
		"a type that nobody makes":                {"get", "", "text/html", http.StatusNotAcceptable, "application/vnd.kubernetes.protobuf"},
		"a list names the streams too":            {"list", "", "application/cbor", http.StatusNotAcceptable, "application/json;stream=watch"},
		"any type of a created object":            {"create", "text/plain", json, 0, ""},
		"a patch of a known type":                 {"patch", patch + "; charset=utf-8", json, 0, ""},
		"a patch that is not one":                 {"patch", json, json, http.StatusUnsupportedMediaType, "415: Unsupported Media Type"},
		"a patch that does not say what it is":    {"patch", "", json, http.StatusUnsupportedMediaType, "415"},
		"both are wrong: the content comes first": {"patch", json, "text/html", http.StatusUnsupportedMediaType, "415"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Content-Type", c.content)
			if c.accept != "" {
				r.Header.Set("Accept", c.accept)
			}
			code, message := mediaRefusal(r, c.verb)
			if code != c.code || !strings.Contains(message, c.message) {
				t.Errorf("got %d %q, want %d with %q", code, message, c.code, c.message)
			}
		})
	}
}
