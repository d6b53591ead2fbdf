package podautoscaler

import (
	"errors"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// reading is what was found of one metric: of each pod, or values of the whole.
type reading struct {
	samples samples
	values  []int64
	err     error
}

// verdict is what one metric asks for.
type verdict struct {
	replicas int32
	name     string // in conditions and events
	status   autoscalingv2.MetricStatus
}

// refusal is why a metric asks for nothing.
type refusal struct {
	word string // of the event and the condition
	err  error  // their text
	told error  // what the autoscaler as a whole reports
}

// evaluate gives what a metric asks for, by its reading.
func evaluate(spec *autoscalingv2.MetricSpec, r reading, t target, s Settings, now time.Time) (verdict, *refusal) {
	v := verdict{status: autoscalingv2.MetricStatus{Type: spec.Type}}
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		m := spec.Resource
		current, name, replicas, err := ofResource(m.Name, "", m.Target, r, t, s, now)
		if err != nil {
			return v, &refusal{"FailedGetResourceMetric", err, fmt.Errorf("failed to get %s resource metric value: %w", m.Name, err)}
		}
		v.status.Resource = &autoscalingv2.ResourceMetricStatus{Name: m.Name, Current: current}
		v.replicas, v.name = replicas, name
	case autoscalingv2.ContainerResourceMetricSourceType:
		m := spec.ContainerResource
		current, name, replicas, err := ofResource(m.Name, m.Container, m.Target, r, t, s, now)
		if err != nil {
			return v, &refusal{"FailedGetContainerResourceMetric", err, fmt.Errorf("failed to get %s container metric value: %w", m.Container, err)}
		}
		v.status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: m.Name, Container: m.Container, Current: current}
		v.replicas, v.name = replicas, name
	case autoscalingv2.PodsMetricSourceType:
		return ofPods(v, spec.Pods, r, t, s, now)
	case autoscalingv2.ObjectMetricSourceType:
		return ofObject(v, spec.Object, r, t)
	case autoscalingv2.ExternalMetricSourceType:
		return ofExternal(v, spec.External, r, t)
	default:
		err := fmt.Errorf("unknown metric source type %q", string(spec.Type))
		return v, &refusal{"InvalidMetricSourceType", err, err}
	}
	return v, nil
}

// ofResource is for CPU and memory of pods, or of one container of each.
func ofResource(name corev1.ResourceName, container string, want autoscalingv2.MetricTarget, r reading, t target, s Settings, now time.Time) (autoscalingv2.MetricValueStatus, string, int32, error) {
	var current autoscalingv2.MetricValueStatus
	var by comparison
	var what, label string
	switch {
	case want.AverageValue != nil:
		by, what, label = toValue(want.AverageValue.MilliValue()), "usage", fmt.Sprintf("%s resource", name)
	case want.AverageUtilization == nil:
		return current, "", 0, errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	case container != "":
		by, what, label = toUtilization(name, container, *want.AverageUtilization), "utilization", fmt.Sprintf("%s container resource utilization (percentage of request)", name)
	default:
		by, what, label = toUtilization(name, "", *want.AverageUtilization), "utilization", fmt.Sprintf("%s resource utilization (percentage of request)", name)
	}
	replicas, m, err := int32(0), measured{}, r.err
	if err != nil {
		err = fmt.Errorf("unable to get metrics for resource %s: %w", name, err)
	} else {
		replicas, m, err = byPods(t, r.samples, name, by, s, now)
	}
	if err != nil {
		return current, "", 0, fmt.Errorf("failed to get %s %s: %w", name, what, err)
	}
	form := resource.DecimalSI
	if name == corev1.ResourceMemory {
		form = resource.BinarySI
	}
	current.AverageValue = resource.NewMilliQuantity(m.average, form)
	if want.AverageValue == nil {
		current.AverageUtilization = &m.percentage
	}
	return current, label, replicas, nil
}

func ofPods(v verdict, m *autoscalingv2.PodsMetricSource, r reading, t target, s Settings, now time.Time) (verdict, *refusal) {
	var got measured
	err := r.err
	if err != nil {
		err = fmt.Errorf("unable to get metric %s: %w", m.Metric.Name, err)
	} else {
		v.replicas, got, err = byPods(t, r.samples, "", toValue(m.Target.AverageValue.MilliValue()), s, now)
	}
	if err != nil {
		return v, &refusal{"FailedGetPodsMetric", err, fmt.Errorf("failed to get pods metric value: %w", err)}
	}
	v.name = "pods metric " + m.Metric.Name
	v.status.Pods = &autoscalingv2.PodsMetricStatus{Metric: m.Metric, Current: average(got.average)}
	return v, nil
}

func ofObject(v verdict, m *autoscalingv2.ObjectMetricSource, r reading, t target) (verdict, *refusal) {
	fail := func(err, told error) (verdict, *refusal) {
		return v, &refusal{"FailedGetObjectMetric", err, fmt.Errorf("failed to get object metric value: %w", told)}
	}
	if r.err != nil {
		if m.Target.Type == autoscalingv2.AverageValueMetricType {
			return fail(r.err, fmt.Errorf("failed to get %s object metric: %w", m.Metric.Name, r.err))
		}
		return fail(r.err, r.err)
	}
	v.status.Object = &autoscalingv2.ObjectMetricStatus{DescribedObject: m.DescribedObject, Metric: m.Metric}
	value := total(r.values)
	switch {
	case m.Target.Type == autoscalingv2.ValueMetricType && m.Target.Value != nil:
		var err error
		if v.replicas, err = byValue(t, value, m.Target.Value.MilliValue()); err != nil {
			return fail(err, err)
		}
		v.name = fmt.Sprintf("%s metric %s", m.DescribedObject.Kind, m.Metric.Name)
		v.status.Object.Current.Value = resource.NewMilliQuantity(value, resource.DecimalSI)
	case m.Target.Type == autoscalingv2.AverageValueMetricType && m.Target.AverageValue != nil:
		var share int64
		v.replicas, share = byShare(t, value, m.Target.AverageValue.MilliValue())
		v.name = fmt.Sprintf("external metric %s(%+v)", m.Metric.Name, m.Metric.Selector)
		v.status.Object.Current = average(share)
	default:
		err := errors.New("invalid object metric source: neither a value target nor an average value target was set")
		return fail(err, err)
	}
	return v, nil
}

func ofExternal(v verdict, m *autoscalingv2.ExternalMetricSource, r reading, t target) (verdict, *refusal) {
	fail := func(err error, format string) (verdict, *refusal) {
		told := err
		if format != "" {
			told = fmt.Errorf(format, m.Metric.Name, err)
		}
		return v, &refusal{"FailedGetExternalMetric", err, fmt.Errorf("failed to get %s external metric value: %w", m.Metric.Name, told)}
	}
	v.name = fmt.Sprintf("external metric %s(%+v)", m.Metric.Name, m.Metric.Selector)
	v.status.External = &autoscalingv2.ExternalMetricStatus{Metric: m.Metric}
	value := total(r.values)
	switch {
	case m.Target.AverageValue != nil:
		if r.err != nil {
			return fail(r.err, "failed to get %s external metric: %w")
		}
		var share int64
		v.replicas, share = byShare(t, value, m.Target.AverageValue.MilliValue())
		v.status.External.Current = average(share)
	case m.Target.Value != nil:
		err := r.err
		if err == nil {
			v.replicas, err = byValue(t, value, m.Target.Value.MilliValue())
		}
		if err != nil {
			return fail(err, "failed to get external metric %s: %w")
		}
		v.status.External.Current.Value = resource.NewMilliQuantity(value, resource.DecimalSI)
	default:
		return fail(errors.New("invalid external metric source: neither a value target nor an average value target was set"), "")
	}
	return v, nil
}

func average(value int64) autoscalingv2.MetricValueStatus {
	return autoscalingv2.MetricValueStatus{AverageValue: resource.NewMilliQuantity(value, resource.DecimalSI)}
}
