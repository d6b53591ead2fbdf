// Package serve answers the API group metrics.k8s.io/v1beta1: get and list of the metrics
// of nodes and pods, as metrics servers do elsewhere. Who may ask was decided by the
// gateway.
//
// Start with New. A pod is there while its phase is Running and every container of it that
// runs has a rate; until then it is not found. Nothing can be watched or written.
package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"kubus.dev/services/metrics/internal/object"
	"kubus.dev/services/metrics/internal/sample"
)

var (
	podResource  = metrics.Resource("pods")
	nodeResource = metrics.Resource("nodes")
)

// root is where the group version is.
const root = "/apis/metrics.k8s.io/v1beta1"

// Handler is the group version. Safe for concurrent use.
type Handler struct {
	objects *object.Catalog
	samples *sample.Store
	read    func() // somebody reads
}

// New serves what objects and samples hold at the moment of each request. read is told of
// each that is about metrics.
func New(objects *object.Catalog, samples *sample.Store, read func()) *Handler {
	return &Handler{objects, samples, read}
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o, err := h.serve(r)
	if err != nil {
		fail(w, err)
		return
	}
	respond(w, r, o)
}

// serve finds what a path names.
func (h *Handler) serve(r *http.Request) (runtime.Object, error) {
	rest, ok := strings.CutPrefix(r.URL.Path, root)
	if !ok {
		return nil, unknown()
	}
	path := strings.FieldsFunc(rest, func(c rune) bool { return c == '/' })
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, apierrors.NewMethodNotSupported(podResource, strings.ToLower(r.Method))
	}
	if len(path) == 0 {
		return resources(), nil
	}
	query := r.URL.Query()
	if watch := query.Get("watch"); watch == "true" || watch == "1" {
		return nil, apierrors.NewMethodNotSupported(podResource, "watch")
	}
	h.read()
	switch {
	case path[0] == "nodes" && len(path) == 1:
		return h.listNodes(query)
	case path[0] == "nodes" && len(path) == 2:
		return h.getNode(path[1])
	case path[0] == "pods" && len(path) == 1:
		return h.listPods("", query)
	case path[0] == "namespaces" && len(path) == 3 && path[2] == "pods":
		return h.listPods(path[1], query)
	case path[0] == "namespaces" && len(path) == 4 && path[2] == "pods":
		return h.getPod(path[1], path[3])
	}
	return nil, unknown()
}

func unknown() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound,
		Reason: metav1.StatusReasonNotFound, Message: "the server could not find the requested resource"}}
}

// resources describes the group version.
func resources() *metav1.APIResourceList {
	verbs := metav1.Verbs{"get", "list"}
	return &metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: metrics.SchemeGroupVersion.String(),
		APIResources: []metav1.APIResource{
			{Name: "nodes", Kind: "NodeMetrics", Verbs: verbs},
			{Name: "pods", Namespaced: true, Kind: "PodMetrics", Verbs: verbs},
		},
	}
}

// selected gives what of a list is asked for.
func selected(query url.Values) (func(*object.Object) bool, error) {
	byLabel, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse labelSelector: %v", err))
	}
	byField, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("unable to parse fieldSelector: %v", err))
	}
	for _, r := range byField.Requirements() {
		if r.Field != "metadata.name" && r.Field != "metadata.namespace" {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only %q, %q", r.Field, "metadata.name", "metadata.namespace"))
		}
	}
	return func(o *object.Object) bool {
		return byLabel.Matches(o.Labels) && byField.Matches(fields.Set{"metadata.name": o.Name, "metadata.namespace": o.Namespace})
	}, nil
}

func (h *Handler) listNodes(query url.Values) (runtime.Object, error) {
	keep, err := selected(query)
	if err != nil {
		return nil, err
	}
	list := &metrics.NodeMetricsList{TypeMeta: typed("NodeMetricsList"), Items: []metrics.NodeMetrics{}}
	for _, o := range h.objects.AllNodes(keep) {
		if m := h.ofNode(o); m != nil {
			m.TypeMeta = metav1.TypeMeta{} // as upstream, items of a list have none
			list.Items = append(list.Items, *m)
		}
	}
	return list, nil
}

func (h *Handler) getNode(name string) (runtime.Object, error) {
	o := h.objects.Node(name)
	if o == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("nodes"), name)
	}
	if m := h.ofNode(o); m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(nodeResource, name)
}

// ofNode gives the metrics of a node; nil: there are none.
func (h *Handler) ofNode(o *object.Object) *metrics.NodeMetrics {
	r, ok := h.samples.Node(o.Name)
	if !ok {
		return nil
	}
	return &metrics.NodeMetrics{
		TypeMeta: typed("NodeMetrics"), ObjectMeta: meta(o), Timestamp: metav1.NewTime(r.Timestamp), Window: metav1.Duration{Duration: r.Window}, Usage: usage(r),
	}
}

func (h *Handler) listPods(namespace string, query url.Values) (runtime.Object, error) {
	keep, err := selected(query)
	if err != nil {
		return nil, err
	}
	list := &metrics.PodMetricsList{TypeMeta: typed("PodMetricsList"), Items: []metrics.PodMetrics{}}
	for _, o := range h.objects.PodsIn(namespace, keep) {
		if m := h.ofPod(o); m != nil {
			m.TypeMeta = metav1.TypeMeta{}
			list.Items = append(list.Items, *m)
		}
	}
	return list, nil
}

func (h *Handler) getPod(namespace, name string) (runtime.Object, error) {
	o := h.objects.Pod(namespace, name)
	if o == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	if m := h.ofPod(o); m != nil {
		return m, nil
	}
	return nil, apierrors.NewNotFound(podResource, namespace+"/"+name)
}

// ofPod gives the metrics of a pod, as of the container that was read first; nil: there
// are none.
func (h *Handler) ofPod(o *object.Object) *metrics.PodMetrics {
	if !o.Running {
		return nil
	}
	rates, ok := h.samples.Pod(o.Node, o.UID)
	if !ok {
		return nil
	}
	m := &metrics.PodMetrics{TypeMeta: typed("PodMetrics"), ObjectMeta: meta(o)}
	first := rates[0]
	for _, r := range rates {
		if r.Timestamp.Before(first.Timestamp) {
			first = r
		}
		m.Containers = append(m.Containers, metrics.ContainerMetrics{Name: r.Name, Usage: usage(r)})
	}
	m.Timestamp, m.Window = metav1.NewTime(first.Timestamp), metav1.Duration{Duration: first.Window}
	return m
}

func typed(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: kind, APIVersion: metrics.SchemeGroupVersion.String()}
}

// meta is new with each answer: that is when the object is made.
func meta(o *object.Object) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: o.Name, Namespace: o.Namespace, CreationTimestamp: metav1.NewTime(time.Now()), Labels: o.Labels}
}

func usage(r sample.Rate) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(r.NanoCores, resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(r.Bytes, resource.BinarySI),
	}
}
