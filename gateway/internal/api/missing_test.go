package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"kubus.dev/gateway/internal/resource"
)

func TestWhatIsMissingIsToldAsUpstreamsRoutersDo(t *testing.T) {
	t.Parallel()
	missing := Missing(resource.NewRegistry(resource.BuiltIn()))
	for name, c := range map[string]struct{ path, contentType, begins string }{
		"a version of the core group":        {"/api/v9", "application/json", `{"kind":"Status"`},
		"a resource of a group of ours":      {"/apis/apps/v1/none", "application/json", `{"kind":"Status"`},
		"a version of a group of ours":       {"/apis/apps/v9", "application/json", `{"kind":"Status"`},
		"a group that only answers reviews":  {"/apis/authorization.k8s.io/v1/none", "application/json", `{"kind":"Status"`},
		"a group that nobody serves":         {"/apis/none", "text/plain; charset=utf-8", "404 page not found"},
		"a resource in it":                   {"/apis/none/v1/things", "text/plain; charset=utf-8", "404 page not found"},
		"a name that only begins as a group": {"/apis/app", "text/plain; charset=utf-8", "404 page not found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			missing(w, httptest.NewRequest("GET", c.path, nil))
			if w.Code != 404 || w.Header().Get("Content-Type") != c.contentType || !strings.HasPrefix(w.Body.String(), c.begins) {
				t.Errorf("got %d %s %q, want 404 %s %q", w.Code, w.Header().Get("Content-Type"), w.Body, c.contentType, c.begins)
			}
		})
	}
}
