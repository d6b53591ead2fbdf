package kit

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Health is a set of named checks; /livez and /readyz serve it in the form of
// Kubernetes' components: ?verbose, ?exclude=NAME, and one check by its path, which
// alone gives the reason of a failure.
type Health struct {
	prefix string
	shared *checks
}

type checks struct {
	mu    sync.RWMutex
	ready map[string]func() error
	live  map[string]func() error
	told  func(path, check string, err error)
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

// Observe has f told what each check gave whenever all of a path such as readyz are
// asked for, and of all paths when Run is called. The last f is the one that is told.
func (h *Health) Observe(f func(path, check string, err error)) {
	h.shared.mu.Lock()
	h.shared.told = f
	h.shared.mu.Unlock()
}

// Run runs the checks of all paths, for who observes.
func (h *Health) Run() {
	h.shared.mu.RLock()
	defer h.shared.mu.RUnlock()
	for path, set := range h.shared.paths() {
		for _, name := range ordered(set) {
			_ = h.shared.run(path, name, set[name])
		}
	}
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
	for path, set := range h.shared.paths() {
		serve := func(w http.ResponseWriter, r *http.Request) { h.shared.serve(w, r, path, set) }
		mux.HandleFunc("/"+path, serve)
		mux.HandleFunc("/"+path+"/{check}", serve)
	}
	return mux
}

func (c *checks) paths() map[string]map[string]func() error {
	return map[string]map[string]func() error{"livez": c.live, "readyz": c.ready, "healthz": c.ready}
}

// run runs one check, for who observes. The lock is held.
func (c *checks) run(path, name string, check func() error) error {
	err := check()
	if c.told != nil {
		c.told(path, name, err)
	}
	return err
}

func (c *checks) serve(w http.ResponseWriter, r *http.Request, path string, set map[string]func() error) {
	w.Header().Set("Cache-Control", "no-cache, private")
	c.mu.RLock()
	defer c.mu.RUnlock()
	if only := r.PathValue("check"); only != "" {
		one(w, set[only])
		return
	}
	text, failed := c.all(r, path, set)
	if failed {
		// As http.Error writes it, which upstream does.
		http.Error(w, text+path+" check failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, verbose := r.URL.Query()["verbose"]; verbose {
		fmt.Fprintf(w, "%s%s check passed\n", text, path)
		return
	}
	fmt.Fprint(w, "ok")
}

// one answers for a single check; it gives the reason of a failure, which all of them
// together, that anybody may ask for, withhold.
func one(w http.ResponseWriter, check func() error) {
	if check == nil {
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	if err := check(); err != nil {
		http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, "ok")
}

// all runs the checks that the request does not exclude and gives a line for each, and
// one for the names that there are none of.
func (c *checks) all(r *http.Request, path string, set map[string]func() error) (text string, failed bool) {
	excluded := r.URL.Query()["exclude"]
	var b strings.Builder
	for _, name := range ordered(set) {
		if slices.Contains(excluded, name) {
			fmt.Fprintf(&b, "[+]%s excluded: ok\n", name)
		} else if err := c.run(path, name, set[name]); err != nil {
			failed = true
			fmt.Fprintf(&b, "[-]%s failed: reason withheld\n", name)
		} else {
			fmt.Fprintf(&b, "[+]%s ok\n", name)
		}
	}
	var unknown []string
	for _, name := range excluded {
		if quoted := fmt.Sprintf("%q", name); set[name] == nil && !slices.Contains(unknown, quoted) {
			unknown = append(unknown, quoted)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		fmt.Fprintf(&b, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(unknown, ","))
	}
	return b.String(), failed
}

// ordered gives the names of checks, ping first as upstream's.
func ordered(set map[string]func() error) []string {
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if (a == "ping") != (b == "ping") {
			if a == "ping" {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}
