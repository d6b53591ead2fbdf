package worker

import (
	"fmt"

	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

// gang places the pods of a gang that wait, those that others were asked about too: as many as
// it needs, or none. Those that got no place are told why. Nobody is taken away for a gang.
func (w *Worker) gang(d *decision, one *shape.Pod) {
	g := w.mirror.GangOf(one)
	first := len(d.placements)
	why := map[string]string{}
	message := ""
	switch missing := g.Size - g.Placed - len(g.Pending); {
	case missing > 0:
		message = fmt.Sprintf("waiting for %d more pods of gang %q, which needs %d", missing, one.Gang, g.Size)
	case len(g.Pending) > plan.MostPods:
		message = fmt.Sprintf("gang %q has %d pods, more than the %d that are placed together", one.Gang, len(g.Pending), plan.MostPods)
	}
	placed, reason := g.Placed, ""
	for _, pod := range g.Pending {
		if message != "" {
			break
		}
		if why[pod.UID] = w.member(d, pod); why[pod.UID] == "" {
			placed++
		} else if reason == "" {
			reason = why[pod.UID]
		}
	}
	if message == "" && placed < g.Size {
		message = fmt.Sprintf("only %d of the %d pods that gang %q needs fit: %s", placed, g.Size, one.Gang, reason)
	}
	if message != "" {
		for _, p := range d.placements[first:] {
			w.mirror.Forget(p.UID)
		}
		d.placements = d.placements[:first]
	}
	for _, pod := range g.Pending {
		reason := message
		if reason == "" {
			reason = why[pod.UID]
		}
		if reason != "" {
			d.failed = append(d.failed, failure{pod.UID, reason})
		}
	}
}

// member places one pod of a gang, or says why it cannot be.
func (w *Worker) member(d *decision, pod *shape.Pod) string {
	owner := ""
	if pod.Spreads {
		owner = pod.Owner
	}
	if pod.Shape.Unbound() || pod.Shape.Waits() {
		return "the claims of a gang's pods must be bound before"
	}
	if pod.Shape.Placeable() && !w.mirror.Claimed(pod.Shape) {
		set := w.set(w.key(pod, owner), pod)
		if at, ok := set.Best(); ok {
			w.place(d, pod, at, set)
			return ""
		}
	}
	return w.obstruct(pod).diagnosis.Message("")
}
