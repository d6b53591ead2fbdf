package kit

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Health is a set of named checks; /livez and /readyz serve it in the form of
// Kubernetes' components: ?verbose, ?exclude=NAME, and one check by its path.
type Health struct {
	prefix string
	shared *checks
}

type checks struct {
	mu    sync.RWMutex
	ready map[string]func() error
	live  map[string]func() error
}

// NewHealth makes a set that only answers to ping: healthy.
func NewHealth() *Health {
	ping := func() error { return nil }
	return &Health{shared: &checks{ready: map[string]func() error{"ping": ping}, live: map[string]func() error{"ping": ping}}}
}

// Group adds to the same set, with names below prefix.
func (h *Health) Group(prefix string) *Health {
	return &Health{prefix: h.prefix + prefix + "-", shared: h.shared}
}

// Ready registers a readiness check; the service takes work while it returns nil.
func (h *Health) Ready(name string, check func() error) {
	h.shared.mu.Lock()
	h.shared.ready[h.prefix+name] = check
	h.shared.mu.Unlock()
}

// Live registers a liveness check; a process that fails it should be restarted.
func (h *Health) Live(name string, check func() error) {
	h.shared.mu.Lock()
	h.shared.live[h.prefix+name] = check
	h.shared.mu.Unlock()
}

// Check runs the readiness checks and gives the failures by name.
func (h *Health) Check() map[string]error { return h.shared.failures(h.shared.ready) }

func (c *checks) failures(set map[string]func() error) map[string]error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[string]error{}
	for name, check := range set {
		if err := check(); err != nil {
			out[name] = err
		}
	}
	return out
}

// Handler serves /livez, /readyz and /healthz.
func (h *Health) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, set := range map[string]map[string]func() error{"livez": h.shared.live, "readyz": h.shared.ready, "healthz": h.shared.ready} {
		serve := func(w http.ResponseWriter, r *http.Request) { h.shared.serve(w, r, path, set) }
		mux.HandleFunc("/"+path, serve)
		mux.HandleFunc("/"+path+"/{check}", serve)
	}
	return mux
}

func (c *checks) serve(w http.ResponseWriter, r *http.Request, path string, set map[string]func() error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache, private")
	only := r.PathValue("check")
	if only == "" {
		w.Header().Set("X-Content-Type-Options", "nosniff")
	}
	excluded := r.URL.Query()["exclude"]
	c.mu.RLock()
	defer c.mu.RUnlock()
	var names []string
	for name := range set {
		if only == "" || name == only {
			names = append(names, name)
		}
	}
	if only != "" && len(names) == 0 {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	sort.Strings(names)
	var text strings.Builder
	failed := false
	for _, name := range names {
		if slices.Contains(excluded, name) {
			fmt.Fprintf(&text, "[+]%s excluded: ok\n", name)
		} else if err := set[name](); err != nil {
			failed = true
			fmt.Fprintf(&text, "[-]%s failed: %v\n", name, err)
		} else {
			fmt.Fprintf(&text, "[+]%s ok\n", name)
		}
	}
	for _, name := range excluded {
		if !slices.Contains(names, name) {
			fmt.Fprintf(&text, "warn: some health checks cannot be excluded: no matches for %q\n", name)
		}
	}
	_, verbose := r.URL.Query()["verbose"]
	switch {
	case failed:
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprintf(w, "%s%s check failed\n", text.String(), path)
	case verbose && only == "":
		fmt.Fprintf(w, "%s%s check passed\n", text.String(), path)
	default:
		fmt.Fprint(w, "ok")
	}
}
