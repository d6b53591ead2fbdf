package shape

import (
	"runtime"
	"sync"
	"weak"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Served gives pods that Services choose, and no owner spreads, the shape of being spread by
// what the Services choose. It is safe for concurrent use.
type Served struct {
	mu   sync.Mutex // the garbage collector takes entries away
	made map[served]weak.Pointer[Shape]
}

type served struct {
	base   *Shape
	chosen string // namespace and labels
}

// NewServed is empty.
func NewServed() *Served { return &Served{made: map[served]weak.Pointer[Shape]{}} }

// By is the shape of a pod in a namespace where Services choose pods with these labels, all
// Services together. A pod that has constraints, or whose profile has others, stays as it is.
func (s *Served) By(base *Shape, namespace string, chosen labels.Set) *Shape {
	if len(chosen) == 0 || !base.Profile.System || base.Profile.Weights.PodTopologySpread == 0 ||
		base.Terms != nil && len(base.Terms.Hard)+len(base.Terms.Soft) > 0 {
		return base
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := served{base, namespace + "\x00" + chosen.String()}
	if old := s.made[key].Value(); old != nil {
		return old
	}
	fresh := *base
	fresh.Terms = &Terms{}
	if base.Terms != nil {
		*fresh.Terms = *base.Terms
	}
	fresh.Terms.System = true
	selector := Selector{Namespaces: []string{namespace}, Labels: chosen.AsSelector()}.named()
	for _, c := range []struct {
		key  string
		skew int32
	}{{corev1.LabelHostname, 3}, {corev1.LabelTopologyZone, 5}} { // upstream's systemDefaultConstraints
		fresh.Terms.Soft = append(fresh.Terms.Soft, Spread{Selector: selector, Key: c.key, MaxSkew: c.skew, MinDomains: 1, HonorNodes: true, Self: true})
	}
	p := weak.Make(&fresh)
	s.made[key] = p
	runtime.AddCleanup(&fresh, func(key served) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.made[key] == p {
			delete(s.made, key)
		}
	}, key)
	return &fresh
}
