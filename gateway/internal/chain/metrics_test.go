package chain

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/component-base/metrics/legacyregistry"
)

// serving is a chain whose one resource is served by next.
func serving(next http.HandlerFunc) *Chain {
	return New(Options{
		Next: next, Serves: func(gvr schema.GroupVersionResource) bool { return gvr.Resource == "counted" }, Logger: zap.NewNop(),
		Authorizer: authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
			return authorizer.DecisionAllow, "", nil
		}),
	})
}

// values are a metric's values by the labels that are asked for.
func values(t *testing.T, name string, by ...string) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			key := ""
			for _, l := range by {
				key += labels[l] + " "
			}
			out[key] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestRequestsAreCountedUnderUpstreamsNames(t *testing.T) {
	total := func() map[string]float64 {
		return values(t, "apiserver_request_total", "verb", "resource", "subresource", "scope", "code")
	}
	c := serving(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("end") {
		case "panic":
			panic("on purpose")
		case "404":
			w.WriteHeader(http.StatusNotFound)
		}
	})
	before := total()
	for _, path := range []string{
		"/api/v1/namespaces/n/counted/x", "/api/v1/namespaces/n/counted", "/api/v1/namespaces/n/counted/x/status", "/api/v1/counted?watch=1",
		"/api/v1/namespaces/n/counted/x?end=panic", "/api/v1/namespaces/n/counted/x/nonsense?end=404", "/api/v1/nonsense", "/nonsense?end=404", "/version",
	} {
		c.ServeAs(BusUser("u"), httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
	}
	after := total()
	for _, key := range []string{
		"GET counted  resource 200 ", "LIST counted  namespace 200 ", "GET counted status resource 200 ", "WATCH counted  cluster 200 ",
		"GET counted  resource 500 ", "GET counted  resource 404 ", "GET  /version  200 ",
	} {
		if after[key]-before[key] != 1 {
			t.Errorf("%q: counted %v times", key, after[key]-before[key])
		}
	}
	for key := range after {
		if strings.Contains(key, "nonsense") {
			t.Errorf("a client's word became a label: %q", key)
		}
	}
}

func TestWhatIsInHandIsSeenWhenSomebodyAsks(t *testing.T) {
	var c *Chain
	inHand := func() map[string]float64 {
		c.Gauges()
		return values(t, "apiserver_current_inflight_requests", "request_kind")
	}
	long := func() float64 { return values(t, "apiserver_longrunning_requests", "resource")["counted "] }
	var during map[string]float64
	var longDuring float64
	c = serving(func(http.ResponseWriter, *http.Request) { during, longDuring = inHand(), long() })
	c.ServeAs(BusUser("u"), httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/n/counted/x", nil))
	if during["readOnly "] != 1 || during["mutating "] != 0 || longDuring != 0 {
		t.Errorf("during a read: %v, %v", during, longDuring)
	}
	c.ServeAs(BusUser("u"), httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/api/v1/namespaces/n/counted/x", nil))
	if during["readOnly "] != 0 || during["mutating "] != 1 {
		t.Errorf("during a write: %v", during)
	}
	c.ServeAs(BusUser("u"), httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/counted?watch=1", nil))
	if during["readOnly "] != 0 || during["mutating "] != 0 || longDuring != 1 {
		t.Errorf("during a watch: %v, %v", during, longDuring)
	}
	if after := inHand(); after["readOnly "] != 0 || after["mutating "] != 0 || long() != 0 {
		t.Errorf("afterwards: %v, %v", after, long())
	}
}

func TestTheServersOwnTimeIsWithoutWhatWebhooksTake(t *testing.T) {
	const webhook = time.Hour
	seconds := func() (sum float64, n uint64) {
		families, err := legacyregistry.DefaultGatherer.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "apiserver_request_sli_duration_seconds" {
				for _, m := range f.Metric {
					sum, n = sum+m.GetHistogram().GetSampleSum(), n+m.GetHistogram().GetSampleCount()
				}
			}
		}
		return sum, n
	}
	c := serving(func(_ http.ResponseWriter, r *http.Request) {
		trackers, ok := request.LatencyTrackersFrom(r.Context())
		if !ok {
			t.Fatal("nothing counts what webhooks take")
		}
		trackers.MutatingWebhookTracker.TrackDuration(webhook)
	})
	before, n := seconds()
	c.ServeAs(BusUser("u"), httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/api/v1/namespaces/n/counted/x", nil))
	if after, m := seconds(); m != n+1 || after-before > -webhook.Seconds()/2 {
		t.Errorf("%d more took %v s", m-n, after-before)
	}
}
