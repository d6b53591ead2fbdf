package gateway

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/kit"
)

func TestTheServerTellsOfItself(t *testing.T) {
	g := start(t, func(c *Config) { c.Bus.URL = "nats://jane:hidden@127.0.0.1:4222" })
	g.settled(t)
	must[corev1.ConfigMap](t, g, "POST", "/api/v1/namespaces/default/configmaps", configMap("told"))
	for path, parts := range map[string][]string{
		"/statusz": {"apiserver statusz", "1.37.2+kubus.test", "/readyz"},
		"/flagz":   {"apiserver flagz", "serviceCIDR", "10.96.0.0/16", "jane:xxxxx@"},
		"/metrics/slis": {
			`kubernetes_healthcheck{name="bus",type="readyz"} 1`, `kubernetes_healthchecks_total{name="ping",status="success",type="livez"}`,
		},
		"/debug/pprof/":                  {"goroutine"},
		"/debug/pprof/goroutine?debug=1": {"goroutine profile: total"},
		"/debug/api_priority_and_fairness/dump_priority_levels": {"PriorityLevelName", "catch-all", "workload-low"},
		"/debug/api_priority_and_fairness/dump_queues":          {"PriorityLevelName", "workload-low"},
		"/debug/api_priority_and_fairness/dump_requests":        {"PriorityLevelName", "FlowSchemaName"},
		"/metrics": {
			`apiserver_admission_controller_admission_duration_seconds_bucket{name="NamespaceLifecycle",operation="CREATE",rejected="false",type="admit",le="0.005"}`,
			`apiserver_admission_step_admission_duration_seconds_count{operation="CREATE",rejected="false",type="validate"}`,
			`apiserver_admission_step_admission_duration_seconds_summary_count{`,
		},
	} {
		resp, err := g.http.Get(g.url + path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, err)
		}
		for _, part := range parts {
			if !strings.Contains(string(data), part) {
				t.Errorf("%s: no %s in\n%.2000s", path, part, data)
			}
		}
		if path == "/flagz" && strings.Contains(string(data), "hidden") {
			t.Errorf("%s shows a password", path)
		}
	}
}

// What a server tells of itself is not for everybody.
func TestOnlyWhoMayKnowIsToldOfTheServer(t *testing.T) {
	g := start(t)
	for _, path := range []string{"/statusz", "/flagz", "/metrics/slis", "/debug/pprof/", "/debug/pprof/heap", "/debug/api_priority_and_fairness/dump_requests"} {
		if resp, _ := g.without(t, "", path); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: a stranger got %d", path, resp.StatusCode)
		}
	}
}

func TestAHealthCheckThatFailsIsAnIndicator(t *testing.T) {
	health := kit.NewHealth()
	health.Ready("indicator", func() error { return errors.New("broken") })
	r := chi.NewRouter()
	indicators(r, health)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics/slis", http.NoBody))
	for _, part := range []string{`kubernetes_healthcheck{name="indicator",type="readyz"} 0`, `kubernetes_healthchecks_total{name="indicator",status="error",type="readyz"}`} {
		if !strings.Contains(w.Body.String(), part) {
			t.Errorf("no %s in %d %s", part, w.Code, w.Body)
		}
	}
}
