package replicaset

import (
	"math"
	"sort"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/controllers/internal/pod"
)

// victims chooses count of the active pods to delete, the ones that cost least
// first: upstream's ActivePodsWithRanks, rule by rule.
func victims(active, related []*corev1.Pod, count int, now time.Time) []*corev1.Pod {
	onNode := map[string]int{}
	for _, p := range related {
		if pod.Active(p) {
			onNode[p.Spec.NodeName]++
		}
	}
	ranked := make([]candidate, len(active))
	for i, p := range active {
		ranked[i] = newCandidate(p, onNode[p.Spec.NodeName])
	}
	sort.Slice(ranked, func(i, j int) bool { return ranked[i].before(&ranked[j], now) })
	chosen := make([]*corev1.Pod, min(count, len(ranked)))
	for i := range chosen {
		chosen[i] = ranked[i].pod
	}
	return chosen
}

// candidate is a pod with what the rules compare.
type candidate struct {
	pod             *corev1.Pod
	assigned, ready bool
	phase           int
	cost            int32
	neighbours      int
	readySince      time.Time
	created         time.Time
	restarts        int32
	sidecarRestarts int32
}

var phases = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

func newCandidate(p *corev1.Pod, neighbours int) candidate {
	c := candidate{pod: p, assigned: p.Spec.NodeName != "", phase: phases[p.Status.Phase], neighbours: neighbours, created: p.CreationTimestamp.Time}
	c.readySince, c.ready = pod.ReadySince(p)
	c.cost = deletionCost(p)
	c.restarts, c.sidecarRestarts = pod.Restarts(p)
	return c
}

// before is true when a should be deleted rather than b.
func (a *candidate) before(b *candidate, now time.Time) bool {
	switch {
	case a.assigned != b.assigned: // not on a node yet
		return !a.assigned
	case a.phase != b.phase: // pending, unknown, running
		return a.phase < b.phase
	case a.ready != b.ready:
		return !a.ready
	case a.cost != b.cost:
		return a.cost < b.cost
	case a.neighbours != b.neighbours: // doubled up on a node
		return a.neighbours > b.neighbours
	}
	if a.ready && b.ready && !a.readySince.Equal(b.readySince) { // ready for a shorter time
		return younger(a.readySince, b.readySince, now, a.pod.UID < b.pod.UID)
	}
	if a.restarts != b.restarts {
		return a.restarts > b.restarts
	}
	if a.sidecarRestarts != b.sidecarRestarts {
		return a.sidecarRestarts > b.sidecarRestarts
	}
	if !a.created.Equal(b.created) { // made later
		return younger(a.created, b.created, now, a.pod.UID < b.pod.UID)
	}
	return a.pod.UID < b.pod.UID // nothing sets them apart: by chance too, but always the same one
}

// younger compares two times on a logarithmic scale, so that pods of about the
// same age are chosen by chance (their UIDs) rather than by order of creation.
func younger(a, b, now time.Time, byChance bool) bool {
	if a.IsZero() || b.IsZero() {
		return a.IsZero()
	}
	difference := magnitude(now.Sub(a)) - magnitude(now.Sub(b))
	if difference == 0 {
		return byChance
	}
	return difference < 0
}

func magnitude(age time.Duration) int64 {
	if age <= 0 {
		return -1
	}
	return int64(math.Log2(float64(age)))
}

// deletionCost is the annotation's value; zero when it is absent or malformed.
func deletionCost(p *corev1.Pod) int32 {
	value := p.Annotations[corev1.PodDeletionCost]
	if value == "" || value[0] == '+' || value[0] == '0' && value != "0" {
		return 0
	}
	cost, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		return 0
	}
	return int32(cost)
}
