package endpoint

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/endpointslice/topologycache"
	"k8s.io/endpointslice/trafficdist"
	"k8s.io/klog/v2"
)

// hints says for which zones and nodes endpoints are meant: near ones first where the
// service has a trafficDistribution, or, by the older annotation, so that each zone has
// its share of the CPUs. What the share is, and whether it can be had, upstream's
// library decides; it remembers what each service's slices say now, to tell a service's
// user when that changes.
type hints struct {
	cache *topologycache.TopologyCache
	nodes func() []*corev1.Node

	mu    sync.Mutex
	stale bool // the cache knows other nodes than there are
}

func newHints(nodes func() []*corev1.Node) *hints {
	return &hints{cache: topologycache.NewTopologyCache(), nodes: nodes, stale: true}
}

// quiet is for the library, which logs at each look what the events say.
var quiet = klog.New(nil)

// byTopology is true of services that ask for shares by annotation.
func byTopology(service *corev1.Service) bool {
	mode, found := service.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if !found {
		mode = service.Annotations[corev1.AnnotationTopologyMode]
	}
	return mode == "Auto" || mode == "auto"
}

// byDistance is true of services that prefer near endpoints.
func byDistance(service *corev1.Service) bool {
	switch value(service.Spec.TrafficDistribution) {
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode:
		return !byTopology(service)
	}
	return false
}

// Set puts hints into the slices of a family that are written, and into those that
// would stay as they are when their hints are not right any more. existing are all that
// there are, and not modified.
func (h *hints) Set(service *corev1.Service, family discoveryv1.AddressType, plan *slicePlan, existing []*discoveryv1.EndpointSlice) {
	key := service.Namespace + "/" + service.Name
	unchanged := func() []*discoveryv1.EndpointSlice {
		return slices.DeleteFunc(slices.Clone(existing), func(s *discoveryv1.EndpointSlice) bool {
			same := func(other *discoveryv1.EndpointSlice) bool { return other.Name == s.Name }
			return slices.ContainsFunc(plan.Update, same) || slices.ContainsFunc(plan.Delete, same)
		})
	}
	info := &topologycache.SliceInfo{ServiceKey: key, AddressType: family, ToCreate: plan.Create, ToUpdate: plan.Update, Unchanged: unchanged()}
	if byTopology(service) {
		h.refresh()
		plan.Create, plan.Update, plan.Notes = h.cache.AddHints(quiet, info)
		return
	}
	if h.cache.HasPopulatedHints(key) {
		plan.Notes = append(plan.Notes, &topologycache.EventBuilder{
			EventType: corev1.EventTypeWarning, Reason: "TopologyAwareHintsDisabled",
			Message: topologycache.FormatWithAddressType(topologycache.TopologyAwareHintsDisabled, family),
		})
	}
	h.cache.RemoveHints(key, family)
	if byDistance(service) {
		plan.Create, plan.Update, _ = trafficdist.ReconcileHints(service.Spec.TrafficDistribution, plan.Create, plan.Update, unchanged())
		return
	}
	plan.Create, plan.Update = topologycache.RemoveHintsFromSlices(info)
}

// Forget is for a service that is no more, or has no slices of a family any more.
func (h *hints) Forget(namespace, name string, families ...discoveryv1.AddressType) {
	for _, family := range families {
		h.cache.RemoveHints(namespace+"/"+name, family)
	}
}

// nodeChanged notes a change of the nodes that counts for shares, and tells whether it is one.
func (h *hints) nodeChanged(old, new *corev1.Node) bool {
	if old != nil && new != nil && shareOf(old) == shareOf(new) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stale = true
	return true
}

// share is what a node adds to its zone.
type share struct {
	zone     string
	cpu      int64
	ready    bool
	excluded bool
}

func shareOf(node *corev1.Node) share {
	s := share{zone: node.Labels[corev1.LabelTopologyZone], cpu: node.Status.Allocatable.Cpu().MilliValue()}
	for _, c := range node.Status.Conditions {
		s.ready = s.ready || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}
	for _, label := range []string{"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"} {
		_, has := node.Labels[label]
		s.excluded = s.excluded || has
	}
	return s
}

// refresh tells the cache of the nodes there are.
func (h *hints) refresh() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stale {
		h.stale = false
		h.cache.SetNodes(quiet, h.nodes())
	}
}

// Unfair are those of the services that are to be looked at since the nodes changed: a
// zone has too few endpoints, or there were no hints and may be now.
func (h *hints) Unfair(services []*corev1.Service) (unfair []*corev1.Service) {
	h.refresh()
	overloaded := h.cache.GetOverloadedServices()
	for _, service := range services {
		key := service.Namespace + "/" + service.Name
		if byTopology(service) && (slices.Contains(overloaded, key) || !h.cache.HasPopulatedHints(key)) {
			unfair = append(unfair, service)
		}
	}
	return unfair
}
