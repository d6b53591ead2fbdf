package podautoscaler

import (
	"errors"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func cpuAt(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}
}

func queueAt(value string) autoscalingv2.MetricSpec {
	q := resource.MustParse(value)
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "queue"}, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: &q}}}
}

func TestOfSeveralMetricsTheMostCounts(t *testing.T) {
	t.Parallel()
	objects, use := world(ready(100, 100))
	full := target{spec: 2, status: 2, pods: objects, tolerances: tolerances{0.1, 0.1}}
	away := reading{err: errors.New("unable to get external metric ns/queue/nil: nobody answers")}
	for _, tc := range []struct {
		name    string
		of      []reading
		want    int32
		nothing bool
		err     string
	}{
		{"CPU asks for more", []reading{{samples: use}, {values: []int64{2000}}}, 4, false, ""},
		{"the queue does", []reading{{samples: use}, {values: []int64{9000}}}, 9, false, ""},
		{"one that cannot be read does not keep it from growing", []reading{{samples: use}, away}, 4, false,
			"invalid metrics (1 invalid out of 2), first error is: failed to get queue external metric value: failed to get queue external metric: unable to get external metric ns/queue/nil: nobody answers"},
		{"but from shrinking", []reading{{samples: samples{"p0": {value: 10}, "p1": {value: 10}}}, away}, 0, true,
			"invalid metrics (1 invalid out of 2), first error is: failed to get queue external metric value: failed to get queue external metric: unable to get external metric ns/queue/nil: nobody answers"},
		{"none can be read", []reading{{err: errors.New("no metrics returned from resource metrics API")}, away}, 0, true,
			"invalid metrics (2 invalid out of 2), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API"},
	} {
		j := judge([]autoscalingv2.MetricSpec{cpuAt(50), queueAt("1")}, tc.of, full, DefaultSettings, now)
		if j.nothing != tc.nothing || !tc.nothing && j.replicas != tc.want || tc.err != "" && (j.err == nil || j.err.Error() != tc.err) || tc.err == "" && j.err != nil {
			t.Errorf("%s: got %+v", tc.name, j)
		}
	}
	j := judge([]autoscalingv2.MetricSpec{cpuAt(50), queueAt("1")}, []reading{{samples: use}, {values: []int64{2000}}}, full, DefaultSettings, now)
	if j.metric != "cpu resource utilization (percentage of request)" || *j.statuses[0].Resource.Current.AverageUtilization != 100 || j.statuses[0].Resource.Current.AverageValue.String() != "1" {
		t.Errorf("got %+v", j)
	}
	if got := j.statuses[1].External.Current.AverageValue.String(); got != "1" {
		t.Errorf("each has %s of the queue, want 1", got)
	}
}

func TestWhereThePresentSizeLeads(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		current int32
		least   int32
		own     bool // the autoscaler itself has scaled to zero
		metric  autoscalingv2.MetricSpec
		want    course
		to      int32
		why     string
	}{
		{"within the limits, metrics decide", 3, 2, false, cpuAt(50), courseMeasure, 0, ""},
		{"above the most", 11, 2, false, cpuAt(50), courseToLimits, 10, "Current number of replicas above Spec.MaxReplicas"},
		{"below the least", 1, 2, false, cpuAt(50), courseToLimits, 2, "Current number of replicas below Spec.MinReplicas"},
		{"somebody turned it off", 0, 2, false, cpuAt(50), courseStay, 0, ""},
		{"by itself, for want of work", 0, 0, true, queueAt("1"), courseMeasure, 0, ""},
		{"by itself, but pods say nothing now", 0, 0, true, cpuAt(50), courseStay, 0, ""},
		{"by itself, before its least was raised", 0, 2, true, cpuAt(50), courseMeasure, 0, ""},
	} {
		h := &autoscalingv2.HorizontalPodAutoscaler{}
		h.Spec.MinReplicas, h.Spec.MaxReplicas, h.Spec.Metrics = &tc.least, 10, []autoscalingv2.MetricSpec{tc.metric}
		if tc.own {
			h.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScaledToZero, Status: corev1.ConditionTrue}}
		}
		got, to, why := begin(h, tc.current)
		if got != tc.want || to != tc.to || why != tc.why {
			t.Errorf("%s: got %v %d %q", tc.name, got, to, why)
		}
	}
}

func TestOwnTolerances(t *testing.T) {
	t.Parallel()
	h := &autoscalingv2.HorizontalPodAutoscaler{}
	if got := DefaultSettings.tolerances(h); got != (tolerances{0.1, 0.1}) {
		t.Errorf("got %+v", got)
	}
	q := resource.MustParse("0.25")
	h.Spec.Behavior = &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{Tolerance: &q}}
	if got := DefaultSettings.tolerances(h); got != (tolerances{0.1, 0.25}) {
		t.Errorf("got %+v", got)
	}
	if up := (tolerances{0.1, 0.25}); up.hold(1.26) || !up.hold(1.25) || up.hold(0.89) || !up.hold(0.9) {
		t.Error("each direction has its own")
	}
}

func TestMeasuredValuesAreWrittenNowAndThenWhatFollowsAtOnce(t *testing.T) {
	t.Parallel()
	status := func(value int64, replicas int32) *autoscalingv2.HorizontalPodAutoscalerStatus {
		return &autoscalingv2.HorizontalPodAutoscalerStatus{DesiredReplicas: replicas, CurrentMetrics: []autoscalingv2.MetricStatus{
			{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{Current: average(value)}}}}
	}
	for _, tc := range []struct {
		name  string
		fresh *autoscalingv2.HorizontalPodAutoscalerStatus
		last  time.Duration
		want  bool
	}{
		{"nothing is new", status(1, 2), time.Hour, false},
		{"a value, just after the last write", status(7, 2), 2 * time.Second, false},
		{"a value, a while after", status(7, 2), 15 * time.Second, true},
		{"a size", status(7, 3), time.Second, true},
		{"no values any more", &autoscalingv2.HorizontalPodAutoscalerStatus{DesiredReplicas: 2}, time.Second, true},
	} {
		if got := writable(status(1, 2), tc.fresh, now.Add(-tc.last), now); got != tc.want {
			t.Errorf("%s: got %v", tc.name, got)
		}
	}
}
