package gateway

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/pprof"
	"net/url"
	"slices"

	"github.com/go-chi/chi/v5"
	"go.yaml.in/yaml/v3"
	semantic "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/server/flagz"
	"k8s.io/apiserver/pkg/server/statusz"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/metrics/prometheus/slis"

	"kubus.dev/services/kit"
)

// component is what kube-apiserver calls itself on its pages.
const component = "apiserver"

// debug adds what kube-apiserver tells of itself to those who may know: its settings, its
// profiles, and what waits at each priority level. RBAC gives these paths to
// administrators alone, but for /statusz and /flagz, which are system:monitoring's too.
func (g *Gateway) debug(r chi.Router, release string, fairness http.Handler, paths []string) {
	flagz.Install(r, component, shownConfig(g.cfg))
	statusz.Install(r, component, statusz.NewRegistry(effective(release), statusz.WithListedPaths(paths)))
	r.Handle("/debug/api_priority_and_fairness/*", fairness)
	r.Handle("/debug/pprof", http.RedirectHandler("/debug/pprof/", http.StatusFound))
	r.HandleFunc("/debug/pprof/*", pprof.Index)
	r.HandleFunc("/debug/pprof/profile", pprof.Profile)
	r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	r.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

// effective is the version as upstream's pages want it; one that is none, of a build
// without a name, is not shown.
func effective(text string) compatibility.EffectiveVersion {
	if _, err := semantic.ParseSemantic(text); err != nil {
		text = "0.0.0"
	}
	return compatibility.NewEffectiveVersionFromString(text, "", "")
}

// shownConfig is a configuration as /flagz shows it: by path, such as api.listen. Keys and
// passwords are in files, so that nothing of it is secret but the password that a URL may hold.
type shownConfig Config

// GetFlagz is upstream's flagz.Reader.
func (s shownConfig) GetFlagz() map[string]string {
	if u, err := url.Parse(s.Bus.URL); err == nil {
		s.Bus.URL = u.Redacted()
	}
	var tree map[string]any
	data, err := yaml.Marshal(Config(s))
	if err == nil {
		err = yaml.Unmarshal(data, &tree)
	}
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	out := map[string]string{}
	flatten(out, "", tree)
	return out
}

func flatten(out map[string]string, path string, value any) {
	tree, ok := value.(map[string]any)
	if !ok {
		out[path] = fmt.Sprint(value)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		below := key
		if path != "" {
			below = path + "." + key
		}
		flatten(out, below, tree[key])
	}
}

// indicators adds /metrics/slis: of each health check how it is, and how often it was. Who
// asks has all of them run, since there is nobody beside who asks regularly.
func indicators(r chi.Router, health *kit.Health) {
	health.Observe(func(path, check string, err error) {
		status := slis.Success
		if err != nil {
			status = slis.Error
		}
		_ = slis.ObserveHealthcheck(context.Background(), check, path, status) // it has no errors
	})
	installed := chi.NewRouter()
	slis.SLIMetricsWithReset{}.Install(installed)
	r.HandleFunc("/metrics/slis", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			health.Run()
		}
		installed.ServeHTTP(w, r)
	})
}
