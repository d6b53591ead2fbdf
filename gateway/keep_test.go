package gateway

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/gateway/internal/bootstrap"
)

// What a cluster must have comes back: a tick that is taken means that the one before it
// was dealt with.
func TestWhatAClusterMustHaveComesBack(t *testing.T) {
	g := start(t, func(c *Config) { c.API.Advertise = "192.0.2.1:6443" })
	g.settled(t)
	const (
		service  = "/api/v1/namespaces/default/services/kubernetes"
		endpoint = "/api/v1/namespaces/default/endpoints/kubernetes"
		slice    = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
		schemas  = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/"
		levels   = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/"
	)
	before := must[corev1.Service](t, g, "GET", service, nil)
	for _, path := range []string{service, endpoint, slice, schemas + "catch-all", schemas + "probes", levels + "workload-low"} {
		if _, err := g.do(t, "DELETE", path, nil); err != nil {
			t.Fatal(err)
		}
	}
	// Of a suggested one people may change the spec where they take it over; else it is put right.
	changed := must[flowcontrolv1.FlowSchema](t, g, "GET", schemas+"service-accounts", nil)
	right := changed.Spec.MatchingPrecedence
	changed.Spec.MatchingPrecedence = 7777
	must[flowcontrolv1.FlowSchema](t, g, "PUT", schemas+"service-accounts", changed)

	ticks := make(chan time.Time)
	done := make(chan struct{})
	go func() {
		defer close(done)
		bootstrap.Keep(t.Context(), g.basics(), ticks)
	}()
	ticks <- time.Time{}
	ticks <- time.Time{}
	if after := must[corev1.Service](t, g, "GET", service, nil); after.Spec.ClusterIP != before.Spec.ClusterIP || after.UID == before.UID {
		t.Errorf("the Service is %s %s, was %s %s", after.UID, after.Spec.ClusterIP, before.UID, before.Spec.ClusterIP)
	}
	must[corev1.Endpoints](t, g, "GET", endpoint, nil) //nolint:staticcheck // still what clients read
	g.fails(t, metav1.StatusReasonNotFound, "probes", "GET", schemas+"probes", nil)
	for range 4 {
		ticks <- time.Time{}
	}
	close(ticks)
	<-done
	for _, path := range []string{slice, schemas + "catch-all", schemas + "probes", levels + "workload-low"} {
		if _, err := g.do(t, "GET", path, nil); err != nil {
			t.Errorf("%s did not come back: %v", path, err)
		}
	}
	if got := must[flowcontrolv1.FlowSchema](t, g, "GET", schemas+"service-accounts", nil); got.Spec.MatchingPrecedence != right {
		t.Errorf("the precedence of service-accounts is %d, want %d", got.Spec.MatchingPrecedence, right)
	}
	g.settled(t) // the schemas that came back have their conditions
	// What is there is not written again.
	state, err := g.conn.StreamState(t.Context(), "STATE")
	if err != nil {
		t.Fatal(err)
	}
	again := make(chan time.Time, 6) // read to its end
	for range cap(again) {
		again <- time.Time{}
	}
	close(again)
	bootstrap.Keep(t.Context(), g.basics(), again)
	if after, err := g.conn.StreamState(t.Context(), "STATE"); err != nil || after.LastSeq != state.LastSeq {
		t.Errorf("the log went from %d to %d, %v", state.LastSeq, after.LastSeq, err)
	}
}
