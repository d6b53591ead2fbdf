// Package devicetaint deletes pods whose devices are tainted NoExecute, by the driver
// in a ResourceSlice or by a person with a DeviceTaintRule, as far as their claim does
// not tolerate it:
//
//	pod on its node, claim reserved, device tainted --> toleration's time is over, or
//	      |                                             there is none: condition
//	      |                                             DisruptionTarget, deleted
//	      +--> taint taken back before: event "Cancelling deletion"
//
// The condition EvictionInProgress of a rule says how many pods are to go, and for a
// rule without effect how many would: at once after a change, then at most every 10 s.
//
// plan.go finds when a pod is to go, condition.go what a rule says.
package devicetaint
