package node

import (
	"testing"

	"kubus.dev/services/agent/internal/eviction"
)

func TestProcessIDs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pidMax, threadsMax, loadavg string
		want                        eviction.Observation
		ok                          bool
	}{
		"the lesser bound counts": {"32768", "1000", "0.20 0.18 0.12 1/80 11206", eviction.Observation{Capacity: 1000, Available: 920}, true},
		"threads are not bounded": {"32768", "", "0.20 0.18 0.12 1/80 11206", eviction.Observation{Capacity: 32768, Available: 32688}, true},
		"nothing can be read":     {"", "1000", "0.20 0.18 0.12 1/80 11206", eviction.Observation{}, false},
		"no tasks are named":      {"32768", "1000", "", eviction.Observation{}, false},
	} {
		got, ok := processIDs(c.pidMax, c.threadsMax, c.loadavg)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: got %+v, %v", name, got, ok)
		}
	}
}
