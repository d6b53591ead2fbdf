package device

import (
	"fmt"
	"maps"
	"slices"
)

type set map[string]bool

func setOf(ids []string) set {
	out := make(set, len(ids))
	for _, id := range ids {
		out[id] = true
	}
	return out
}

func (s set) sorted() []string { return slices.Sorted(maps.Keys(s)) }

// wish is what one container asks of one resource.
type wish struct {
	resource string
	need     int
	healthy  set
	used     set // by any container of any pod
	reuse    set // used, but by init containers of this pod that end before
	// prefer asks the plugin for size devices out of available, must among them; nil: it has no opinion. What it says
	// is a wish, not an order.
	prefer func(available, must []string, size int) ([]string, error)
}

// pick chooses, in kubelet's order and with its words: first what the pod had before, then what the plugin prefers, then
// what comes first.
func pick(w wish) ([]string, error) {
	if len(w.healthy) == 0 {
		return nil, fmt.Errorf("no healthy devices present; cannot allocate unhealthy devices %s", w.resource)
	}
	chosen := make(set, w.need)
	take := func(ids []string, from set) bool {
		for _, id := range ids {
			if len(chosen) < w.need && from[id] {
				chosen[id] = true
			}
		}
		return len(chosen) == w.need
	}
	if take(w.reuse.sorted(), w.reuse) {
		return chosen.sorted(), nil
	}
	available := set{}
	for id := range w.healthy {
		if !w.used[id] && !chosen[id] {
			available[id] = true
		}
	}
	if left := w.need - len(chosen); len(available) < left {
		return nil, fmt.Errorf("requested number of devices unavailable for %s. Requested: %d, Available: %d", w.resource, left, len(available))
	}
	if w.prefer != nil {
		must := chosen.sorted()
		preferred, err := w.prefer(slices.Sorted(slices.Values(append(available.sorted(), must...))), must, w.need)
		if err != nil {
			return nil, fmt.Errorf("device plugin GetPreferredAllocation rpc failed with err: %w", err)
		}
		take(preferred, available)
	}
	take(available.sorted(), available)
	return chosen.sorted(), nil
}
