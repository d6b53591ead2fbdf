package shape

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Plugin is one of upstream's filter plugins, as a set of bits.
type Plugin uint32

// The plugins whose filters can be turned off.
const (
	NodeName Plugin = 1 << iota
	NodeUnschedulable
	TaintToleration
	NodeAffinity
	NodePorts
	NodeResourcesFit
	VolumeRestrictions
	NodeVolumeLimits
	VolumeBinding
	VolumeZone
	PodTopologySpread
	InterPodAffinity
	NodeDeclaredFeatures
)

// Weights are those of upstream's score plugins; 0 turns one off.
type Weights struct {
	TaintToleration, NodeAffinity, NodeResourcesFit, BalancedAllocation, VolumeBinding, PodTopologySpread, InterPodAffinity, ImageLocality int64
}

// Strategy is how NodeResourcesFit scores.
type Strategy uint8

// The strategies.
const (
	LeastAllocated Strategy = iota // spread
	MostAllocated                  // bin-pack
	CapacityRatio
)

// Weighted is a resource and what it counts.
type Weighted struct {
	Name   string
	Weight int64
}

// Point says that a utilization, in per cent, is worth a score of 0 to 100; between points lies
// a line.
type Point struct{ Utilization, Score int64 }

// Profile is what an operator set for the pods of one schedulerName. It is immutable and shared.
type Profile struct {
	Name    string
	Off     Plugin
	Weights Weights

	Strategy Strategy
	Points   []Point    // of CapacityRatio, by utilization
	Fit      []Weighted // what NodeResourcesFit looks at
	Storage  []Point    // of VolumeBinding, by utilization

	// Added must be met by the node too, and AddedPreferred counts as the pod's own.
	Added          *nodeaffinity.NodeSelector
	AddedPreferred []corev1.PreferredSchedulingTerm

	// Defaults are the constraints of pods without any. System: upstream's own instead, for
	// the score only.
	Defaults []corev1.TopologySpreadConstraint
	System   bool

	HardAffinity    int64 // what required affinity is worth to those it asks for
	IgnorePreferred bool  // of pods that run, where the pod has no preferences

	Preempts                    bool
	LeastPercent, LeastAbsolute int // nodes that are tried for preemption
}

// DefaultProfile is upstream's, for a schedulerName.
func DefaultProfile(name string) *Profile {
	return &Profile{
		Name:    name,
		Weights: Weights{TaintToleration: 3, NodeAffinity: 2, NodeResourcesFit: 1, BalancedAllocation: 1, VolumeBinding: 1, PodTopologySpread: 2, InterPodAffinity: 2, ImageLocality: 1},
		Fit:     []Weighted{{string(corev1.ResourceCPU), 1}, {string(corev1.ResourceMemory), 1}},
		Storage: []Point{{0, 100}, {100, 0}},
		System:  true, HardAffinity: 1, Preempts: true, LeastPercent: 10, LeastAbsolute: 100,
	}
}

// normal is the profile of pods for which nothing is set.
var normal = DefaultProfile(corev1.DefaultSchedulerName)

// Without tells whether a plugin's filter is off for the pod.
func (s *Shape) Without(p Plugin) bool { return s.Profile.Off&p != 0 }

// ownLabels are set for one pod or one revision: they tell pods of one owner apart.
var ownLabels = []string{"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "controller-revision-hash"}

// siblings are labels that choose the pods of the pod's owner.
func siblings(labels map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range labels {
		out[k] = v
	}
	for _, k := range ownLabels {
		delete(out, k)
	}
	return out
}
