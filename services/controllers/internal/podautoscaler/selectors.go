package podautoscaler

import (
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// selectors are those of the targets of all autoscalers, as they were read last: two
// autoscalers of the same pods would pull at them in turn. Safe for concurrent use.
type selectors struct {
	mu sync.Mutex
	of map[types.NamespacedName]labels.Selector
}

func (s *selectors) put(key types.NamespacedName, selector labels.Selector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[key] = selector
}

func (s *selectors) forget(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, key)
}

// of names the autoscalers that select any of the pods of a namespace.
func (s *selectors) selecting(namespace string, pods []*corev1.Pod) []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []types.NamespacedName
	for key, selector := range s.of {
		if key.Namespace == namespace && slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return selector.Matches(labels.Set(p.Labels)) }) {
			out = append(out, key)
		}
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int { return strings.Compare(a.Name, b.Name) })
	return out
}
