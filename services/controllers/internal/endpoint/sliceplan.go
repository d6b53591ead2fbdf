package endpoint

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/endpointslice/topologycache"

	"kubus.dev/services/controllers/internal/pod"
)

const (
	sliceManager = "endpointslice-controller.k8s.io"
	sliceSize    = 100 // endpoints a slice, as upstream's default
)

// slicePlan is what makes the slices of a service right.
type slicePlan struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
	Notes                  []*topologycache.EventBuilder // what the service's user should know of hints
}

// planSlices compares the slices a service has with what its pods ask for. node
// gives nil for nodes that do not exist; pods on those are left out unless the
// service publishes what is not ready. existing are those under the service's
// label and our management, and not being deleted. h says for whom endpoints are.
func planSlices(service *corev1.Service, pods []*corev1.Pod, node func(string) *corev1.Node, existing []*discoveryv1.EndpointSlice, changed time.Time, h *hints) slicePlan {
	var plan slicePlan
	supported := families(service)
	byFamily := map[discoveryv1.AddressType][]*discoveryv1.EndpointSlice{}
	for _, slice := range existing {
		if slices.Contains(supported, slice.AddressType) {
			byFamily[slice.AddressType] = append(byFamily[slice.AddressType], slice)
		} else {
			plan.Delete = append(plan.Delete, slice)
			h.Forget(service.Namespace, service.Name, slice.AddressType)
		}
	}
	for _, family := range supported {
		plan.add(planFamily(service, pods, node, byFamily[family], family, h))
	}
	if service.DeletionTimestamp != nil {
		plan.Create = nil
	}
	for _, slice := range append(slices.Clone(plan.Create), plan.Update...) {
		slice.Annotations = annotateTrigger(slice.Annotations, changed)
	}
	return plan
}

func (p *slicePlan) changes() bool { return len(p.Create)+len(p.Update)+len(p.Delete) > 0 }

func (p *slicePlan) add(more slicePlan) {
	p.Create = append(p.Create, more.Create...)
	p.Update = append(p.Update, more.Update...)
	p.Delete = append(p.Delete, more.Delete...)
	p.Notes = append(p.Notes, more.Notes...)
}

// planFamily plans the slices of one address type.
func planFamily(service *corev1.Service, pods []*corev1.Pod, node func(string) *corev1.Node, existing []*discoveryv1.EndpointSlice, family discoveryv1.AddressType, h *hints) slicePlan {
	var plan slicePlan
	present := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range existing {
		if ownedBy(slice, service) {
			key := portsKey(slice.Ports)
			present[key] = append(present[key], slice)
		} else {
			plan.Delete = append(plan.Delete, slice)
		}
	}
	wanted, order := group(service, pods, node, family)
	for _, key := range order {
		plan.add(fill(service, family, wanted[key], present[key]))
	}
	for _, slice := range existing { // in their order, not the map's
		if key := portsKey(slice.Ports); ownedBy(slice, service) && wanted[key] == nil {
			plan.Delete = append(plan.Delete, slice)
		}
	}
	if len(plan.Delete) == len(existing) && len(plan.Create) == 0 {
		placeholder := newSlice(service, family, []discoveryv1.EndpointPort{})
		if len(plan.Delete) == 1 && samePlaceholder(plan.Delete[0], placeholder) {
			plan.Delete = nil
		} else {
			plan.Create = append(plan.Create, placeholder)
		}
	}
	h.Set(service, family, &plan, existing)
	return plan.reuse(service)
}

// reuse turns a deletion and a creation into one update.
func (p slicePlan) reuse(service *corev1.Service) slicePlan {
	rest := p.Delete[:0:0]
	for _, gone := range p.Delete {
		if len(p.Create) == 0 || !ownedBy(gone, service) {
			rest = append(rest, gone)
			continue
		}
		slice := p.Create[len(p.Create)-1]
		p.Create = p.Create[:len(p.Create)-1]
		slice.Name, slice.GenerateName, slice.UID, slice.ResourceVersion = gone.Name, gone.GenerateName, gone.UID, gone.ResourceVersion
		p.Update = append(p.Update, slice)
	}
	p.Delete = rest
	return p
}

// wish is the endpoints that share a set of ports.
type wish struct {
	ports     []discoveryv1.EndpointPort
	endpoints map[string]discoveryv1.Endpoint
	order     []string
}

func group(service *corev1.Service, pods []*corev1.Pod, node func(string) *corev1.Node, family discoveryv1.AddressType) (wishes map[string]*wish, order []string) {
	wishes = map[string]*wish{}
	for _, p := range pods {
		if !listed(p, true) {
			continue
		}
		ports := endpointPorts(service, p)
		key := portsKey(ports)
		if wishes[key] == nil {
			wishes[key] = &wish{ports: ports, endpoints: map[string]discoveryv1.Endpoint{}}
			order = append(order, key)
		}
		host := node(p.Spec.NodeName)
		if host == nil && !service.Spec.PublishNotReadyAddresses {
			continue
		}
		endpoint := endpointOf(p, host, service, family)
		if len(endpoint.Addresses) == 0 {
			continue
		}
		id := endpointKey(&endpoint)
		if _, twice := wishes[key].endpoints[id]; !twice {
			wishes[key].order = append(wishes[key].order, id)
		}
		wishes[key].endpoints[id] = endpoint
	}
	return wishes, order
}

// fill keeps what is right in the present slices, tops up those that change
// anyway, then tries one that would stay, and only then makes new ones: as few
// slices change as can be, because every change goes to every node.
func fill(service *corev1.Service, family discoveryv1.AddressType, want *wish, present []*discoveryv1.EndpointSlice) slicePlan {
	var plan slicePlan
	left := map[string]discoveryv1.Endpoint{}
	for id, endpoint := range want.endpoints {
		left[id] = endpoint
	}
	var unchanged []*discoveryv1.EndpointSlice
	for _, slice := range present {
		var kept []discoveryv1.Endpoint
		changed := false
		for i := range slice.Endpoints {
			id := endpointKey(&slice.Endpoints[i])
			endpoint, wanted := left[id]
			if !wanted {
				continue
			}
			delete(left, id)
			kept = append(kept, endpoint)
			changed = changed || !sameEndpoint(&endpoint, &slice.Endpoints[i])
		}
		labels, labelsChanged := sliceLabels(slice.Labels, service)
		changed = changed || len(kept) != len(slice.Endpoints)
		switch {
		case changed && len(kept) == 0:
			plan.Delete = append(plan.Delete, slice)
		case changed || labelsChanged:
			next := slice.DeepCopy()
			next.Endpoints, next.Labels = kept, labels
			plan.Update = append(plan.Update, next)
		default:
			unchanged = append(unchanged, slice)
		}
	}
	var remaining []discoveryv1.Endpoint
	for _, id := range want.order {
		if endpoint, missing := left[id]; missing {
			remaining = append(remaining, endpoint)
		}
	}
	sort.SliceStable(plan.Update, func(i, j int) bool { return len(plan.Update[i].Endpoints) > len(plan.Update[j].Endpoints) })
	for _, slice := range plan.Update {
		remaining = top(slice, remaining)
	}
	for len(remaining) > 0 {
		target := roomiest(unchanged, len(remaining))
		if target == nil {
			slice := newSlice(service, family, want.ports)
			remaining = top(slice, remaining)
			plan.Create = append(plan.Create, slice)
			continue
		}
		unchanged = slices.DeleteFunc(unchanged, func(s *discoveryv1.EndpointSlice) bool { return s == target })
		next := target.DeepCopy()
		remaining = top(next, remaining)
		plan.Update = append(plan.Update, next)
	}
	return plan
}

// top fills a slice up and returns what did not fit.
func top(slice *discoveryv1.EndpointSlice, endpoints []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	n := min(len(endpoints), max(0, sliceSize-len(slice.Endpoints)))
	slice.Endpoints = append(slice.Endpoints, endpoints[:n]...)
	return endpoints[n:]
}

// roomiest is the slice that would be fullest with n more; nil when none has room.
func roomiest(candidates []*discoveryv1.EndpointSlice, n int) *discoveryv1.EndpointSlice {
	var best *discoveryv1.EndpointSlice
	least := sliceSize
	for _, slice := range candidates {
		if spare := sliceSize - n - len(slice.Endpoints); spare >= 0 && spare < least {
			best, least = slice, spare
		}
	}
	return best
}

func endpointOf(p *corev1.Pod, node *corev1.Node, service *corev1.Service, family discoveryv1.AddressType) discoveryv1.Endpoint {
	serving, terminating := pod.Ready(p), p.DeletionTimestamp != nil
	ready := service.Spec.PublishNotReadyAddresses || serving && !terminating
	endpoint := discoveryv1.Endpoint{
		Addresses:  addresses(p, family == discoveryv1.AddressTypeIPv6),
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
	sort.Strings(endpoint.Addresses)
	if p.Spec.NodeName != "" {
		name := p.Spec.NodeName
		endpoint.NodeName = &name
	}
	if node != nil && node.Labels[corev1.LabelTopologyZone] != "" {
		zone := node.Labels[corev1.LabelTopologyZone]
		endpoint.Zone = &zone
	}
	if host := hostname(p, service); host != "" {
		endpoint.Hostname = &host
	}
	return endpoint
}

func endpointPorts(service *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		number, ok := targetPort(p, port)
		if !ok {
			continue
		}
		name, protocol := port.Name, port.Protocol
		ports = append(ports, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &protocol, AppProtocol: port.AppProtocol})
	}
	return ports
}

// portsKey is equal for equal sets of ports, whatever their order.
func portsKey(ports []discoveryv1.EndpointPort) string {
	keys := make([]string, len(ports))
	for i := range ports {
		port := &ports[i]
		keys[i] = fmt.Sprintf("%q %s %d %q", value(port.Name), value(port.Protocol), value(port.Port), value(port.AppProtocol))
	}
	sort.Strings(keys)
	return strings.Join(keys, ",")
}

// endpointKey tells endpoints apart; what it leaves out may change in place.
func endpointKey(endpoint *discoveryv1.Endpoint) string {
	sorted := slices.Clone(endpoint.Addresses)
	sort.Strings(sorted)
	key := strings.Join(sorted, ",") + " " + value(endpoint.Hostname)
	if endpoint.TargetRef != nil {
		key += " " + endpoint.TargetRef.Namespace + "/" + endpoint.TargetRef.Name
	}
	return key
}

func sameEndpoint(a, b *discoveryv1.Endpoint) bool {
	target := func(e *discoveryv1.Endpoint) corev1.ObjectReference {
		if e.TargetRef == nil {
			return corev1.ObjectReference{}
		}
		ref := *e.TargetRef
		ref.ResourceVersion = ""
		return ref
	}
	return equality.Semantic.DeepEqual(a.NodeName, b.NodeName) && equality.Semantic.DeepEqual(a.Zone, b.Zone) &&
		equality.Semantic.DeepEqual(a.Conditions, b.Conditions) && target(a) == target(b)
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func newSlice(service *corev1.Service, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
	prefix := service.Name + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) != 0 {
		prefix = service.Name
	}
	labels, _ := sliceLabels(nil, service)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: prefix, Namespace: service.Namespace, Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(service, serviceKind)},
		},
		AddressType: family, Ports: ports, Endpoints: []discoveryv1.Endpoint{},
	}
}

// sliceLabels are the service's labels and those by which slices are found; changed
// is true when the service's own part differs from what the slice has.
func sliceLabels(present map[string]string, service *corev1.Service) (labels map[string]string, changed bool) {
	reserved := func(key string) bool {
		return key == discoveryv1.LabelServiceName || key == discoveryv1.LabelManagedBy || key == corev1.IsHeadlessService
	}
	labels = map[string]string{}
	for key, value := range service.Labels {
		if reserved(key) {
			continue
		}
		labels[key] = value
		if has, found := present[key]; !found || has != value {
			changed = true
		}
	}
	for key := range present {
		if _, wanted := labels[key]; !wanted && !reserved(key) {
			changed = true
		}
	}
	if headless(service) {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[discoveryv1.LabelServiceName] = service.Name
	labels[discoveryv1.LabelManagedBy] = sliceManager
	return labels, changed
}

func ownedBy(slice *discoveryv1.EndpointSlice, service *corev1.Service) bool {
	for _, owner := range slice.OwnerReferences {
		if owner.UID == service.UID && owner.Kind == "Service" && owner.APIVersion == "v1" {
			return true
		}
	}
	return false
}

func samePlaceholder(a, b *discoveryv1.EndpointSlice) bool {
	return a.AddressType == b.AddressType && len(a.Endpoints) == 0 && len(a.Ports) == 0 &&
		equality.Semantic.DeepEqual(a.Labels, b.Labels) && len(a.OwnerReferences) == 1 && a.OwnerReferences[0].UID == b.OwnerReferences[0].UID
}
