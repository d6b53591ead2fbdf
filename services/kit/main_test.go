package kit

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProfilesAreServedOnlyWhereTheyAreAskedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		value string
		code  int
	}{
		"not by default": {"", http.StatusNotFound},
		"when asked for": {"1", http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(ProfilingVar, tc.value)
			w := httptest.NewRecorder()
			Handler(NewHealth(), NewRegistry()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/debug/pprof/heap", nil))
			if w.Code != tc.code {
				t.Errorf("got %d, want %d", w.Code, tc.code)
			}
		})
	}
}

func TestMetricsTellOfTheProcess(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	Handler(NewHealth(), NewRegistry()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, name := range []string{"go_goroutines", "go_memstats_heap_inuse_bytes", "process_resident_memory_bytes"} {
		if !strings.Contains(w.Body.String(), "\n"+name+" ") {
			t.Errorf("%s is missing in\n%s", name, w.Body)
		}
	}
}
