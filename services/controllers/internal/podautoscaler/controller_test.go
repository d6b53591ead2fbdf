package podautoscaler

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

const (
	scalePath   = "/apis/apps.example.com/v1/namespaces/ns/gadgets/web/scale"
	metricsPath = "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods?labelSelector=app%3Dweb"
)

// cluster serves a custom kind "Gadget" with a scale, the metrics of pods, and keeps what
// the controller writes.
type cluster struct {
	*controller
	reads map[string]any // by path
	gets  []string
	scale autoscalingv1.Scale
	// clashes are how many writes of the scale somebody else comes before.
	clashes int
	events  []corev1.Event
	h       *autoscalingv2.HorizontalPodAutoscaler
	rev     uint64
}

func newCluster(t *testing.T, metrics ...autoscalingv2.MetricSpec) *cluster {
	t.Helper()
	c := &cluster{reads: map[string]any{}}
	c.reads["/apis/apps.example.com"] = metav1.APIGroup{PreferredVersion: metav1.GroupVersionForDiscovery{Version: "v1"}}
	c.reads["/apis/apps.example.com/v1"] = metav1.APIResourceList{APIResources: []metav1.APIResource{{Name: "gadgets", Kind: "Gadget"}, {Name: "gadgets/scale", Kind: "Scale", Group: "autoscaling", Version: "v1"}}}
	c.scale.Name, c.scale.Namespace = "web", "ns"
	c.scale.Spec.Replicas, c.scale.Status.Replicas, c.scale.Status.Selector = 2, 2, "app=web"
	world := mirror.NewWorld()
	world.Pods.Follow()
	world.HorizontalPodAutoscalers.Follow()
	client := write.New(c, nil)
	c.controller = newController(world, client, event.NewRecorder("horizontal-pod-autoscaler", client, zaptest.NewLogger(t)), zaptest.NewLogger(t))
	c.update = func(_ context.Context, h *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv2.HorizontalPodAutoscaler, error) {
		c.put(h.DeepCopy())
		return h, nil
	}
	h := &autoscalingv2.HorizontalPodAutoscaler{}
	h.Namespace, h.Name, h.UID, h.Generation = "ns", "web", "u", 1
	h.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps.example.com/v1", Kind: "Gadget", Name: "web"}, MaxReplicas: 10, Metrics: metrics}
	c.put(h)
	return c
}

func (c *cluster) put(h *autoscalingv2.HorizontalPodAutoscaler) {
	c.rev++
	if h.Name == "web" {
		c.h = h
	}
	c.world.HorizontalPodAutoscalers.Put(c.rev, h)
}

// use makes the target's pods, each using so many percent of one CPU.
func (c *cluster) use(percent ...int64) {
	var list []map[string]any
	for i, u := range percent {
		p := object(i, aPod{uses: u})
		p.Status.StartTime = &metav1.Time{Time: time.Now().Add(-time.Hour)}
		p.Status.Conditions[0].LastTransitionTime = *p.Status.StartTime
		c.rev++
		c.world.Pods.Put(c.rev, p)
		list = append(list, map[string]any{
			"metadata": map[string]any{"name": p.Name}, "timestamp": metav1.Now(), "window": "2s",
			"containers": []map[string]any{{"name": "app", "usage": map[string]string{"cpu": fmt.Sprintf("%dm", u*10), "memory": "1Ki"}}},
		})
	}
	c.reads[metricsPath] = map[string]any{"items": list}
}

func (c *cluster) Do(_ context.Context, r apiclient.Request) ([]byte, error) {
	c.gets = append(c.gets, r.Path)
	answer, ok := c.reads[r.Path]
	if r.Path == scalePath && !ok {
		answer, ok = c.scale, true
	}
	if err, bad := answer.(error); bad {
		return nil, err
	}
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, r.Path)
	}
	return json.Marshal(answer)
}

func (c *cluster) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	out := make([]apiclient.Result, len(requests))
	for i, r := range requests {
		out[i].Code, out[i].Body = http.StatusOK, r.Body
		switch {
		case strings.HasSuffix(r.Path, "/events") && r.Method == "POST":
			var e corev1.Event
			if err := json.Unmarshal(r.Body, &e); err != nil {
				return nil, err
			}
			c.events = append(c.events, e)
		case r.Path == scalePath && c.clashes > 0:
			c.clashes--
			out[i].Err = apierrors.NewConflict(schema.GroupResource{Resource: "gadgets"}, "web", nil)
		case r.Path == scalePath:
			out[i].Err = json.Unmarshal(r.Body, &c.scale)
		}
	}
	return out, nil
}

// look reconciles once and gives the Events of it as "reason: message".
func (c *cluster) look(t *testing.T, name string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.controller.events.Run(ctx)
	}()
	c.events = nil
	again, err := c.reconcile(t.Context(), types.NamespacedName{Namespace: "ns", Name: name})
	synctest.Wait()
	cancel()
	<-done
	if err != nil || again != period {
		t.Errorf("looks again after %s, %v", again, err)
	}
	var said []string
	for _, e := range c.events {
		said = append(said, e.Reason+": "+e.Message)
	}
	return said
}

func (c *cluster) condition(kind autoscalingv2.HorizontalPodAutoscalerConditionType) string {
	for _, x := range c.h.Status.Conditions {
		if x.Type == kind {
			return fmt.Sprintf("%s %s", x.Status, x.Reason)
		}
	}
	return ""
}

func TestATargetOfAnyKindFollowsItsLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, cpuAt(50))
		c.use(100, 100)
		c.clashes = 2 // others write the target meanwhile
		said := c.look(t, "web")
		if c.scale.Spec.Replicas != 4 || !slices.Equal(said, []string{"SuccessfulRescale: New size: 4; reason: cpu resource utilization (percentage of request) above target"}) {
			t.Errorf("scaled to %d, saying %q", c.scale.Spec.Replicas, said)
		}
		if c.condition("AbleToScale") != "True SucceededRescale" || c.condition("ScalingActive") != "True ValidMetricFound" || c.condition("ScalingLimited") != "False DesiredWithinRange" {
			t.Errorf("conditions %+v", c.h.Status.Conditions)
		}
		if s := c.h.Status; s.CurrentReplicas != 2 || s.DesiredReplicas != 4 || s.LastScaleTime == nil || *s.ObservedGeneration != 1 || *s.CurrentMetrics[0].Resource.Current.AverageUtilization != 100 {
			t.Errorf("status %+v", s)
		}
		c.scale.Status.Replicas = 4
		time.Sleep(time.Minute)
		c.use(10, 10, 10, 10)
		if said := c.look(t, "web"); c.scale.Spec.Replicas != 4 || said != nil || c.condition("AbleToScale") != "True ScaleDownStabilized" {
			t.Errorf("a minute later: %d, %q, %+v", c.scale.Spec.Replicas, said, c.h.Status.Conditions)
		}
		time.Sleep(5 * time.Minute)
		c.use(10, 10, 10, 10)
		if said := c.look(t, "web"); c.scale.Spec.Replicas != 1 || !slices.Equal(said, []string{"SuccessfulRescale: New size: 1; reason: All metrics below target"}) {
			t.Errorf("six minutes later: %d, %q", c.scale.Spec.Replicas, said)
		}
	})
}

func TestWhatIsWrongIsSaidInUpstreamsWords(t *testing.T) {
	for _, tc := range []struct {
		name      string
		spoil     func(*cluster)
		said      []string
		condition string // of kind, and its text
		kind      autoscalingv2.HorizontalPodAutoscalerConditionType
		text      string
	}{
		{"no such kind", func(c *cluster) { c.h.Spec.ScaleTargetRef.Kind = "Gizmo" },
			[]string{`FailedGetScale: no matches for kind "Gizmo" in group "apps.example.com"`},
			"False FailedGetScale", autoscalingv2.AbleToScale, `the HPA controller was unable to get the target's current scale: no matches for kind "Gizmo" in group "apps.example.com"`},
		{"no such target", func(c *cluster) {
			c.reads[scalePath] = apierrors.NewNotFound(schema.GroupResource{Group: "apps.example.com", Resource: "gadgets"}, "web")
		}, []string{`FailedGetScale: gadgets.apps.example.com "web" not found`}, "False FailedGetScale", autoscalingv2.AbleToScale,
			`the HPA controller was unable to get the target's current scale: gadgets.apps.example.com "web" not found`},
		{"an apiVersion that is none", func(c *cluster) { c.h.Spec.ScaleTargetRef.APIVersion = "a/b/c" },
			[]string{"FailedGetScale: unexpected GroupVersion string: a/b/c"}, "False FailedGetScale", autoscalingv2.AbleToScale,
			"the HPA controller was unable to get the target's current scale: unexpected GroupVersion string: a/b/c"},
		{"a scale without a selector", func(c *cluster) { c.scale.Status.Selector = "" },
			[]string{"SelectorRequired: selector is required", "FailedComputeMetricsReplicas: selector is required"},
			"False InvalidSelector", autoscalingv2.ScalingActive, "the HPA target's scale is missing a selector"},
		{"no metrics", func(c *cluster) { c.reads[metricsPath] = map[string]any{"items": []any{}} },
			[]string{
				"FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API",
				"FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API",
			}, "False FailedGetResourceMetric", autoscalingv2.ScalingActive,
			"the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API"},
		{"turned off", func(c *cluster) { c.scale.Spec.Replicas = 0 }, nil,
			"False ScalingDisabled", autoscalingv2.ScalingActive, "scaling is disabled since the replica count of the target is zero"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, cpuAt(50))
				c.use(100, 100)
				tc.spoil(c)
				replicas := c.scale.Spec.Replicas
				if said := c.look(t, "web"); !slices.Equal(said, tc.said) {
					t.Errorf("said\n%q, want\n%q", said, tc.said)
				}
				if got := c.condition(tc.kind); got != tc.condition {
					t.Errorf("%s is %s, want %s", tc.kind, got, tc.condition)
				}
				for _, x := range c.h.Status.Conditions {
					if x.Type == tc.kind && x.Message != tc.text {
						t.Errorf("it says %q, want %q", x.Message, tc.text)
					}
				}
				if c.scale.Spec.Replicas != replicas {
					t.Error("it was scaled")
				}
			})
		})
	}
}

func TestTwoAutoscalersOfTheSamePods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, cpuAt(50))
		c.use(50, 50)
		other := c.h.DeepCopy()
		other.Name, other.UID = "other", "o"
		c.put(other)
		c.look(t, "other")
		said := c.look(t, "web")
		want := "pods by selector app=web are controlled by more than one HPA (e.g. [ns/other ns/web])"
		if !slices.Equal(said, []string{"AmbiguousSelector: " + want, "FailedComputeMetricsReplicas: " + want}) || c.condition("ScalingActive") != "False AmbiguousSelector" {
			t.Errorf("said %q, %+v", said, c.h.Status.Conditions)
		}
		c.world.HorizontalPodAutoscalers.Drop(c.rev+1, "ns", "other")
		if _, err := c.reconcile(t.Context(), types.NamespacedName{Namespace: "ns", Name: "other"}); err != nil {
			t.Fatal(err)
		}
		if said := c.look(t, "web"); said != nil || c.condition("ScalingActive") != "True ValidMetricFound" {
			t.Errorf("without the other: %q, %+v", said, c.h.Status.Conditions)
		}
	})
}

func TestCustomAndExternalMetricsAreReadThroughTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quantity := queueAt("1").External.Target.AverageValue
		selector := &metav1.LabelSelector{MatchLabels: map[string]string{"verb": "GET"}}
		hits := autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{
			Metric: autoscalingv2.MetricIdentifier{Name: "hits", Selector: selector}, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: quantity}}}
		wait := autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps.example.com/v1", Kind: "Gadget", Name: "door"},
			Metric:          autoscalingv2.MetricIdentifier{Name: "wait"}, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: quantity}}}
		tenants := autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "any"},
			Metric:          autoscalingv2.MetricIdentifier{Name: "tenants"}, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: quantity}}}
		c := newCluster(t, hits, wait, tenants, queueAt("1"))
		c.use(0, 0)
		c.reads["/apis/custom.metrics.k8s.io"] = metav1.APIGroup{Versions: []metav1.GroupVersionForDiscovery{{Version: "v1beta1"}, {Version: "v1beta2"}}}
		in := "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ns/"
		item := func(name, value string) map[string]any {
			return map[string]any{"describedObject": map[string]any{"name": name}, "timestamp": metav1.Now(), "windowSeconds": 10, "value": value}
		}
		list := func(items ...map[string]any) map[string]any { return map[string]any{"items": items} }
		c.reads[in+"pods/*/hits?labelSelector=app%3Dweb&metricLabelSelector=verb%3DGET"] = list(item("p0", "1"), item("p1", "3"))
		c.reads[in+"gadgets.apps.example.com/door/wait"] = list(item("door", "1500m"))
		c.reads[in+"metrics/tenants"] = list(item("ns", "2"))
		c.reads["/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue"] = list(item("", "1"), item("", "500m"))
		said := c.look(t, "web")
		if c.scale.Spec.Replicas != 4 || !slices.Equal(said, []string{"SuccessfulRescale: New size: 4; reason: pods metric hits above target"}) {
			t.Errorf("scaled to %d, saying %q; asked for %q", c.scale.Spec.Replicas, said, c.gets)
		}
		m := c.h.Status.CurrentMetrics
		if len(m) != 4 || m[0].Pods.Current.AverageValue.String() != "2" || m[1].Object.Current.Value.String() != "1500m" || m[2].Object.Current.AverageValue.String() != "1" || m[3].External.Current.AverageValue.String() != "750m" {
			t.Errorf("status %+v", m)
		}
	})
}

func TestFreshSamplesWakeThoseWhoReadThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, cpuAt(50))
		other := c.h.DeepCopy()
		other.Name, other.Spec.Metrics = "queue", []autoscalingv2.MetricSpec{queueAt("1")}
		c.put(other)
		var woken []string
		c.fresh(time.Now(), func(key types.NamespacedName) { woken = append(woken, key.Name) })
		if !slices.Equal(woken, []string{"web"}) {
			t.Errorf("woke %q", woken)
		}
		again := c.h.DeepCopy()
		again.Status.CurrentReplicas = 9
		woken = nil
		c.changed(c.h, again, func(key types.NamespacedName) { woken = append(woken, key.Name) })
		again.Generation = 2
		c.changed(c.h, again, func(key types.NamespacedName) { woken = append(woken, key.Name) })
		if !slices.Equal(woken, []string{"web"}) {
			t.Errorf("its own status woke it: %q", woken)
		}
	})
}

func TestWhoFindsNoSizeIsLookedAtEverLessOften(t *testing.T) {
	t.Parallel()
	m := &memory{}
	c := &controller{past: map[types.NamespacedName]*memory{{Name: "a"}: m}}
	now := time.Now()
	for _, wait := range []time.Duration{1, 3, 7, 15, 15} {
		c.note(m, false, now)
		last := now.Add(wait*time.Second - time.Millisecond)
		if !c.backsOff(types.NamespacedName{Name: "a"}, last) || c.backsOff(types.NamespacedName{Name: "a"}, last.Add(time.Millisecond)) {
			t.Errorf("it does not back off for %d s", wait)
		}
	}
	c.note(m, true, now)
	if c.backsOff(types.NamespacedName{Name: "a"}, now) {
		t.Error("a size was found, and it is not looked at")
	}
	if c.backsOff(types.NamespacedName{Name: "nobody knows"}, now) {
		t.Error("a new one is not looked at")
	}
}
