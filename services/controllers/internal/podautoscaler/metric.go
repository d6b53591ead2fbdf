package podautoscaler

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// source reads metrics through the API, once for all metrics of one look.
type source struct {
	api   API
	kinds *kinds

	namespace string
	selector  labels.Selector // of the target's pods

	used *podUse // nil before it was read
}

// podUse is what metrics.k8s.io says of the target's pods.
type podUse struct {
	pods []podMetrics
	err  error
}

// podMetrics is metrics.k8s.io's PodMetrics.
type podMetrics struct {
	metav1.ObjectMeta `json:"metadata"`
	Timestamp         metav1.Time     `json:"timestamp"`
	Window            metav1.Duration `json:"window"`
	Containers        []struct {
		Name  string              `json:"name"`
		Usage corev1.ResourceList `json:"usage"`
	} `json:"containers"`
}

// metricValue is an item of custom.metrics.k8s.io, in either version, or of
// external.metrics.k8s.io.
type metricValue struct {
	DescribedObject corev1.ObjectReference `json:"describedObject"`
	Timestamp       metav1.Time            `json:"timestamp"`
	Window          *int64                 `json:"window"` // seconds, in v1beta1
	WindowSeconds   *int64                 `json:"windowSeconds"`
	Value           resource.Quantity      `json:"value"`
}

// windowOtherwise is what a custom metric without a window was measured over.
const windowOtherwise = time.Minute

func (v *metricValue) window() time.Duration {
	for _, s := range []*int64{v.WindowSeconds, v.Window} {
		if s != nil {
			return time.Duration(*s) * time.Second
		}
	}
	return windowOtherwise
}

// read reads one metric.
func (s *source) read(ctx context.Context, spec *autoscalingv2.MetricSpec) reading {
	switch spec.Type {
	case autoscalingv2.ResourceMetricSourceType:
		return s.resource(ctx, spec.Resource.Name, "")
	case autoscalingv2.ContainerResourceMetricSourceType:
		return s.resource(ctx, spec.ContainerResource.Name, spec.ContainerResource.Container)
	case autoscalingv2.PodsMetricSourceType:
		return s.ofPods(ctx, spec.Pods.Metric)
	case autoscalingv2.ObjectMetricSourceType:
		return s.ofObject(ctx, spec.Object)
	case autoscalingv2.ExternalMetricSourceType:
		return s.external(ctx, spec.External.Metric)
	}
	return reading{}
}

func (s *source) resource(ctx context.Context, name corev1.ResourceName, container string) reading {
	if s.used == nil {
		var list struct {
			Items []podMetrics `json:"items"`
		}
		query := url.Values{"labelSelector": {s.selector.String()}}
		err := get(ctx, s.api, "/apis/metrics.k8s.io/v1beta1/namespaces/"+s.namespace+"/pods?"+query.Encode(), &list)
		switch {
		case err != nil:
			err = fmt.Errorf("unable to fetch metrics from resource metrics API: %w", err)
		case len(list.Items) == 0:
			err = errors.New("no metrics returned from resource metrics API")
		}
		s.used = &podUse{list.Items, err}
	}
	if s.used.err != nil {
		return reading{err: s.used.err}
	}
	out := samples{}
	for i := range s.used.pods {
		p := &s.used.pods[i]
		if value, ok := p.value(name, container); ok {
			out[p.Name] = sample{p.Timestamp.Time, p.Window.Duration, value}
		}
	}
	return reading{samples: out}
}

// value is what a pod, or one container of it, uses in milli-units; false when a part of it
// is not known.
func (p *podMetrics) value(name corev1.ResourceName, container string) (sum int64, ok bool) {
	for i := range p.Containers {
		c := &p.Containers[i]
		if container != "" && c.Name != container {
			continue
		}
		q, found := c.Usage[name]
		if !found {
			return 0, false
		}
		sum, ok = sum+q.MilliValue(), true
	}
	return sum, ok
}

func (s *source) ofPods(ctx context.Context, m autoscalingv2.MetricIdentifier) reading {
	items, err := s.custom(ctx, "pods/*/"+url.PathEscape(m.Name), m, s.selector)
	if err != nil {
		return reading{err: err}
	}
	if len(items) == 0 {
		return reading{err: errors.New("no metrics returned from custom metrics API")}
	}
	out := samples{}
	for i := range items {
		v := &items[i]
		out[v.DescribedObject.Name] = sample{v.Timestamp.Time, v.window(), v.Value.MilliValue()}
	}
	return reading{samples: out}
}

func (s *source) ofObject(ctx context.Context, m *autoscalingv2.ObjectMetricSource) reading {
	items, err := s.ofOne(ctx, m)
	if err == nil && len(items) != 1 {
		err = fmt.Errorf("unable to fetch metrics from custom metrics API: the custom metrics API server returned %d results when we asked for exactly one", len(items))
	}
	if err != nil {
		return reading{err: fmt.Errorf("unable to get metric %s on %s %s/%s: %w", m.Metric.Name, m.DescribedObject.Kind, s.namespace, m.DescribedObject.Name, err)}
	}
	return reading{values: []int64{items[0].Value.MilliValue()}}
}

func (s *source) ofOne(ctx context.Context, m *autoscalingv2.ObjectMetricSource) ([]metricValue, error) {
	ref := m.DescribedObject
	gk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
	if gk == (schema.GroupKind{Kind: "Namespace"}) { // an object refers to its own namespace only
		return s.custom(ctx, "metrics/"+url.PathEscape(m.Metric.Name), m.Metric, nil)
	}
	r, err := s.kinds.find(ctx, gk)
	if err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from custom metrics API: unable to map kind %s to resource: %w", gk, err)
	}
	return s.custom(ctx, url.PathEscape(r.GroupResource().String())+"/"+url.PathEscape(ref.Name)+"/"+url.PathEscape(m.Metric.Name), m.Metric, nil)
}

// custom reads below a namespace of custom.metrics.k8s.io, in the newest version that is
// served.
func (s *source) custom(ctx context.Context, path string, m autoscalingv2.MetricIdentifier, pods labels.Selector) ([]metricValue, error) {
	of, err := metav1.LabelSelectorAsSelector(m.Selector)
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	if text := of.String(); text != "" {
		query.Set("metricLabelSelector", text)
	}
	if pods != nil {
		query.Set("labelSelector", pods.String())
	}
	version, err := s.customVersion(ctx)
	var list struct {
		Items []metricValue `json:"items"`
	}
	if err == nil {
		at := "/apis/custom.metrics.k8s.io/" + version + "/namespaces/" + s.namespace + "/" + path
		if len(query) > 0 {
			at += "?" + query.Encode()
		}
		err = get(ctx, s.api, at, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)
	}
	return list.Items, nil
}

func (s *source) customVersion(ctx context.Context) (string, error) {
	var group metav1.APIGroup
	if err := get(ctx, s.api, "/apis/custom.metrics.k8s.io", &group); err != nil {
		return "", err
	}
	for _, version := range []string{"v1beta2", "v1beta1"} {
		if slices.ContainsFunc(group.Versions, func(v metav1.GroupVersionForDiscovery) bool { return v.Version == version }) {
			return version, nil
		}
	}
	return "", errors.New("no custom metrics API (custom.metrics.k8s.io) registered")
}

func (s *source) external(ctx context.Context, m autoscalingv2.MetricIdentifier) reading {
	of, err := metav1.LabelSelectorAsSelector(m.Selector)
	if err != nil {
		return reading{err: err}
	}
	path := "/apis/external.metrics.k8s.io/v1beta1/namespaces/" + s.namespace + "/" + url.PathEscape(m.Name)
	if text := of.String(); text != "" {
		path += "?" + url.Values{"labelSelector": {text}}.Encode()
	}
	var list struct {
		Items []metricValue `json:"items"`
	}
	err = get(ctx, s.api, path, &list)
	switch {
	case err != nil:
		err = fmt.Errorf("unable to fetch metrics from external metrics API: %w", err)
	case len(list.Items) == 0:
		err = errors.New("no metrics returned from external metrics API")
	}
	if err != nil {
		return reading{err: fmt.Errorf("unable to get external metric %s/%s/%+v: %w", s.namespace, m.Name, m.Selector, err)}
	}
	out := reading{}
	for i := range list.Items {
		out.values = append(out.values, list.Items[i].Value.MilliValue())
	}
	return out
}
