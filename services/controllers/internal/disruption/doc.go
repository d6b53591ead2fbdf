// Package disruption keeps the status of PodDisruptionBudgets: how many pods there
// should be, how many are healthy, and so how many may be evicted. The gateway takes
// one away from the number with each eviction it allows, and notes the pod:
//
//	evicted, noted --> deleted: forgotten
//	      |
//	      +--> 2 min later still there: event NotDeleted, counts as healthy again
//
// A budget that cannot be counted, its pods having an owner without a scale, allows
// nothing: condition DisruptionAllowed is False, reason SyncFailed.
//
// It also takes back a pod's condition DisruptionTarget when after 2 min nobody has
// deleted the pod.
//
// plan.go decides, scale.go finds how many pods an owner wants: built-in owners in
// the mirrors, of any other kind by its scale subresource.
package disruption
