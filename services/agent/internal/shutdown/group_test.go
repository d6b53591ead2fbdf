package shutdown

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func pod(name string, priority int32) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name = name
	if priority != 0 {
		p.Spec.Priority = &priority
	}
	return p
}

func TestPodsEndByTheirPriorities(t *testing.T) {
	t.Parallel()
	pods := []*corev1.Pod{pod("system", 2_000_001_000), pod("low", -5), pod("plain", 0), pod("cluster", 2_000_000_000), pod("high", 1000)}
	for name, c := range map[string]struct {
		pods    []*corev1.Pod
		periods []Period
		want    string
	}{
		"kubelet's two":      {pods, Periods(30*time.Second, 10*time.Second), "20s: low plain high; 10s: system cluster"},
		"none for critical":  {pods, Periods(30*time.Second, 0), "30s: low plain high; 0s: system cluster"},
		"by priority":        {pods, []Period{{1000, 3 * time.Second}, {0, time.Second}, {2_000_001_000, 4 * time.Second}}, "1s: low plain; 3s: cluster high; 4s: system"},
		"below all":          {pods[1:2], []Period{{1000, 3 * time.Second}}, "3s: low"},
		"a group of nobody":  {pods[:1], Periods(30*time.Second, 10*time.Second), "10s: system"},
		"nothing configured": {pods, Periods(0, 0), ""},
	} {
		var parts []string
		for _, g := range Groups(c.pods, c.periods) {
			part := g.Bound.String() + ":"
			for _, p := range g.Pods {
				part += " " + p.Name
			}
			parts = append(parts, part)
		}
		if got := strings.Join(parts, "; "); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		total, critical time.Duration
		err             string
	}{
		{0, 0, ""}, {30 * time.Second, 10 * time.Second, ""}, {time.Second, time.Second, ""},
		{-1, 0, "must not be negative"}, {time.Second, 2 * time.Second, "2s for critical pods must not be more than 1s for all"},
		{time.Millisecond, 0, "must be either zero or at least a second"}, {0, time.Second, "1s for critical pods must not be more than 0s for all"},
	} {
		if got := fmt.Sprint(Check(c.total, c.critical)); got != c.err && (c.err != "" || got != "<nil>") {
			t.Errorf("%s of %s: %s, want %q", c.critical, c.total, got, c.err)
		}
	}
	if got := Total(Periods(30*time.Second, 10*time.Second)); got != 30*time.Second {
		t.Errorf("in all %s", got)
	}
}
