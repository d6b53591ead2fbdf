// Package shape reads from a pod what decides where it may run, and interns it:
// the pods of one template share one Shape, so that everything computed for a
// Shape (feasible nodes, scores) is computed once for all of them.
//
// Start with Parse, which reads a pod version from the state log, and Shape.
// Shapes and Pods are immutable; a Table is safe for concurrent use.
package shape

import (
	"slices"
	"strings"
	"unique"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	helper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Upstream's defaults for the score of pods that ask for nothing
// (pkg/scheduler/util, DefaultMilliCPURequest and DefaultMemoryRequest).
const (
	defaultMilliCPU = 100
	defaultMemory   = 200 << 20
)

// Shape is the scheduling signature of a pod: two pods with the same Shape may
// run on the same nodes. Priority, scheduler name and gates belong to it, for
// they decide whether and when a pod is looked at.
type Shape struct {
	SchedulerName string
	Profile       *Profile // never nil
	Priority      int32
	PreemptNever  bool
	Gated         bool

	Requests      Resources
	ScoreMilliCPU int64 // as Requests, with upstream's default where nothing is asked
	ScoreMemory   int64
	FitMilliCPU   int64 // as the above, of the containers alone: what upstream's NodeResourcesFit scores a pod
	FitMemory     int64 // by leaves out what is asked for the whole pod
	Ports         []Port
	Tolerations   []corev1.Toleration
	Preferred     *nodeaffinity.PreferredSchedulingTerms // nil: no preference

	// PerNode: the node rules look at what differs between any two nodes (the
	// host name label or the name), so a node class cannot stand for its nodes.
	PerNode bool
	// Pinned, when not nil, lists the only nodes that can match, as a DaemonSet's
	// pods name theirs; empty when the pod's terms contradict each other.
	Pinned []string
	// Missing lists what the pod requires and this scheduler cannot give yet; such
	// a pod stays pending and is told so.
	Missing []string
	// Volumes are those with claims behind them, and Claims what these ask of a node. Claims
	// is nil in the shape of a pod's specification alone; package claim resolves it.
	Volumes []Volume
	Claims  *Claims

	Disks []Disk
	// Features that the node must declare.
	Features []string
	// Images that the pod needs, one for each container.
	Images []unique.Handle[string]
	// Terms is what the pod says of other pods; nil for nothing.
	Terms *Terms

	required nodeaffinity.RequiredNodeAffinity
	selects  bool
	pin      string // the node demanded by name, beside required; Pinned says so too
	base     *Shape // the shape without pin; nil: this one
}

// Port is one host port. IP is "0.0.0.0" when none is named.
type Port struct {
	IP       string
	Protocol corev1.Protocol
	Port     int32
}

// Conflicts follows upstream's HostPortInfo: the same protocol and port on the
// same address, where 0.0.0.0 is every address.
func (p Port) Conflicts(o Port) bool {
	return p.Port == o.Port && p.Protocol == o.Protocol && (p.IP == o.IP || p.IP == anyAddress || o.IP == anyAddress)
}

const anyAddress = "0.0.0.0"

// MatchesNode tells whether nodeSelector and required node affinity let the pod
// onto a node with this name and these labels. A selector that cannot be parsed
// matches nothing.
func (s *Shape) MatchesNode(node *corev1.Node) bool {
	if s.pin != "" && s.pin != node.Name {
		return false
	}
	if !s.selects {
		return true
	}
	ok, err := s.required.Match(node)
	return ok && err == nil
}

// Tolerates tells whether one of the pod's tolerations covers the taint.
func (s *Shape) Tolerates(taint *corev1.Taint) bool {
	for i := range s.Tolerations {
		if tolerates(&s.Tolerations[i], taint) {
			return true
		}
	}
	return false
}

// New computes the shape of a pod's specification, under the default profile.
func New(pod *corev1.Pod) *Shape { return under(normal, pod, false) }

// under computes the shape of a pod's specification; spreads tells that its owner is one whose
// pods are spread by default.
func under(profile *Profile, pod *corev1.Pod, spreads bool) *Shape {
	spec := &pod.Spec
	s := &Shape{
		SchedulerName: spec.SchedulerName,
		Profile:       profile,
		Gated:         len(spec.SchedulingGates) > 0,
		PreemptNever:  spec.PreemptionPolicy != nil && *spec.PreemptionPolicy == corev1.PreemptNever,
		Tolerations:   spec.Tolerations,
		Ports:         hostPorts(spec),
		Missing:       missing(spec),
		Volumes:       volumesOf(spec),
		Disks:         disksOf(spec),
		Features:      featuresOf(spec),
		Images:        imagesOf(spec),
		Terms:         termsOf(profile, pod, spreads),
	}
	if spec.Priority != nil {
		s.Priority = *spec.Priority
	}
	s.requests(pod)
	s.affinity(spec)
	return s
}

func (s *Shape) requests(pod *corev1.Pod) {
	s.Requests = NewResources(helper.PodRequests(pod, helper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}))
	options := helper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true, NonMissingContainerRequests: corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(defaultMilliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(defaultMemory, resource.DecimalSI),
	}}
	scored := helper.PodRequests(pod, options)
	s.ScoreMilliCPU, s.ScoreMemory = scored.Cpu().MilliValue(), scored.Memory().Value()
	if s.FitMilliCPU, s.FitMemory = s.ScoreMilliCPU, s.ScoreMemory; pod.Spec.Resources != nil {
		options.SkipPodLevelResources = true
		scored = helper.PodRequests(pod, options)
		s.FitMilliCPU, s.FitMemory = scored.Cpu().MilliValue(), scored.Memory().Value()
	}
}

func (s *Shape) affinity(spec *corev1.PodSpec) {
	var required *corev1.NodeSelector
	prefers := s.Profile.AddedPreferred
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		required = spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		prefers = slices.Concat(prefers, spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if len(prefers) > 0 {
		// What does not parse gives no preference; the API refuses it anyway.
		if preferred, err := nodeaffinity.NewPreferredSchedulingTerms(prefers); err == nil {
			s.Preferred = preferred
		}
		for i := range prefers {
			s.PerNode = s.PerNode || perNode(&prefers[i].Preference)
		}
	}
	s.PerNode = s.PerNode || s.Profile.Added != nil // it may look at names
	if s.Without(NodeAffinity) {
		return
	}
	s.selects = len(spec.NodeSelector) > 0 || required != nil
	if !s.selects {
		return
	}
	s.required = nodeaffinity.NewRequiredNodeAffinity(spec.NodeSelector, &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required}})
	if _, ok := spec.NodeSelector[corev1.LabelHostname]; ok {
		s.PerNode = true
	}
	if required == nil {
		return
	}
	for i := range required.NodeSelectorTerms {
		s.PerNode = s.PerNode || perNode(&required.NodeSelectorTerms[i])
	}
	s.Pinned = pinned(required)
}

func perNode(term *corev1.NodeSelectorTerm) bool {
	return len(term.MatchFields) > 0 || slices.ContainsFunc(term.MatchExpressions, func(r corev1.NodeSelectorRequirement) bool { return r.Key == corev1.LabelHostname })
}

// pinned gives the node names when every term names some, else nil. A term that names several
// times means what is common to all.
func pinned(selector *corev1.NodeSelector) []string {
	if len(selector.NodeSelectorTerms) == 0 {
		return nil
	}
	names := []string{}
	for i := range selector.NodeSelectorTerms {
		var own []string
		for _, r := range selector.NodeSelectorTerms[i].MatchFields {
			switch {
			case r.Key != "metadata.name" || r.Operator != corev1.NodeSelectorOpIn:
			case own == nil:
				own = append([]string{}, r.Values...)
			default:
				own = slices.DeleteFunc(own, func(name string) bool { return !slices.Contains(r.Values, name) })
			}
		}
		if own == nil {
			return nil
		}
		names = append(names, own...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func hostPorts(spec *corev1.PodSpec) []Port {
	var ports []Port
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			port := Port{IP: p.HostIP, Protocol: p.Protocol, Port: p.HostPort}
			if port.IP == "" {
				port.IP = anyAddress
			}
			if port.Protocol == "" {
				port.Protocol = corev1.ProtocolTCP
			}
			ports = append(ports, port)
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	return ports
}

// unsupported says what is missing.
func (s *Shape) unsupported() string {
	return "the pod asks for " + strings.Join(s.Missing, ", ") + ", which this scheduler does not support yet"
}

// missing names the hard rules that this scheduler does not know; silently ignoring one
// would place a pod where it must not run.
func missing(spec *corev1.PodSpec) []string {
	var m []string
	if len(spec.ResourceClaims) > 0 {
		m = append(m, "dynamic resource claims")
	}
	return m
}
