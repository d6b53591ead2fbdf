package daemonset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"kubus.dev/services/controllers/internal/pod"
)

// status counts the nodes that should have a pod of the set, those that have one
// without, and of each node's oldest pod whether it is ready, available and updated.
func status(o observed, now time.Time) appsv1.DaemonSetStatus {
	next := *o.Set.Status.DeepCopy()
	next.ObservedGeneration = o.Set.Generation
	next.DesiredNumberScheduled, next.CurrentNumberScheduled, next.NumberMisscheduled = 0, 0, 0
	next.NumberReady, next.NumberAvailable, next.UpdatedNumberScheduled = 0, 0, 0
	place, pods := placementOf(o.Set), onNodes(o.Pods)
	for _, node := range o.Nodes {
		there := pods[node.Name]
		if run, _ := place.on(node); !run {
			if len(there) > 0 {
				next.NumberMisscheduled++
			}
			continue
		}
		next.DesiredNumberScheduled++
		if len(there) == 0 {
			continue
		}
		next.CurrentNumberScheduled++
		first := there[0]
		if pod.Ready(first) {
			next.NumberReady++
			if pod.Available(first, o.Set.Spec.MinReadySeconds, now) {
				next.NumberAvailable++
			}
		}
		if updated(o.Set, o.Hash, first) {
			next.UpdatedNumberScheduled++
		}
	}
	next.NumberUnavailable = next.DesiredNumberScheduled - next.NumberAvailable
	return next
}
