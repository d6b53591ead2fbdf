package shape

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Resources is an amount of each resource. CPU is in millicores, memory and
// ephemeral storage in bytes, Scalars in whole units. The number of pods is kept
// apart (node.Node): every pod takes one.
type Resources struct {
	MilliCPU  int64
	Memory    int64
	Ephemeral int64
	Scalars   []Scalar // sorted by name, no name twice; shared, never changed in place
}

// Scalar is an amount of an extended resource, of huge pages or of attachable volumes.
type Scalar struct {
	Name  string
	Value int64
}

// NewResources reads a Kubernetes resource list. Pods are left out.
func NewResources(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.Ephemeral = q.Value()
		case corev1.ResourcePods, corev1.ResourceStorage:
		default:
			if scalar(name) {
				r.Scalars = append(r.Scalars, Scalar{string(name), q.Value()})
			}
		}
	}
	slices.SortFunc(r.Scalars, func(a, b Scalar) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// scalar follows upstream's IsScalarResourceName: extended resources (a domain
// that is not kubernetes.io's), huge pages, prefixed native ones, attachable volumes.
func scalar(name corev1.ResourceName) bool {
	s := string(name)
	return strings.Contains(s, "/") || strings.HasPrefix(s, corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(s, corev1.ResourceAttachableVolumesPrefix)
}

// Scalar gives the amount of a named scalar, 0 when there is none.
func (r *Resources) Scalar(name string) int64 {
	for i := range r.Scalars {
		if r.Scalars[i].Name == name {
			return r.Scalars[i].Value
		}
	}
	return 0
}

// Add adds b, times sign (1 or -1).
func (r *Resources) Add(b *Resources, sign int64) {
	r.MilliCPU += sign * b.MilliCPU
	r.Memory += sign * b.Memory
	r.Ephemeral += sign * b.Ephemeral
	if len(b.Scalars) > 0 {
		r.addScalars(b.Scalars, sign)
	}
}

func (r *Resources) addScalars(b []Scalar, sign int64) {
	sum := slices.Clone(r.Scalars)
	for _, s := range b {
		i, found := slices.BinarySearchFunc(sum, s.Name, func(e Scalar, name string) int { return cmp.Compare(e.Name, name) })
		if !found {
			sum = slices.Insert(sum, i, Scalar{Name: s.Name})
		}
		sum[i].Value += sign * s.Value
	}
	r.Scalars = slices.DeleteFunc(sum, func(s Scalar) bool { return s.Value == 0 })
}

// Zero tells whether nothing is asked for.
func (r *Resources) Zero() bool {
	return r.MilliCPU == 0 && r.Memory == 0 && r.Ephemeral == 0 && len(r.Scalars) == 0
}

// Equal tells whether both are the same amounts.
func (r *Resources) Equal(b *Resources) bool {
	return r.MilliCPU == b.MilliCPU && r.Memory == b.Memory && r.Ephemeral == b.Ephemeral && slices.Equal(r.Scalars, b.Scalars)
}
