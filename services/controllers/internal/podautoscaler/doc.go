// Package podautoscaler keeps HorizontalPodAutoscalers: it reads what the pods of a target
// use, and sets the replicas of the target's scale, whatever kind that is.
//
// What is decided is pure: replicas.go (from samples to replicas, in upstream's arithmetic),
// behavior.go (limits, stabilization, policies), status.go. metric.go reads metrics and
// scale.go scales, both through the API, so that whoever serves metrics.k8s.io,
// custom.metrics.k8s.io or external.metrics.k8s.io is asked; controller.go joins them.
//
//	           scale cannot be read                   metrics cannot be read
//	AbleToScale=False ◄──── each look ────► ScalingActive=False, size kept
//	                            │
//	   target has no replicas ◄─┼─► size outside min..max: there at once
//	   ScalingActive=False      ▼
//	             replicas by each metric, the most counts
//	                            ▼
//	             stabilized, limited ──► scale written when it differs
//
// An autoscaler is looked at when its spec changes, when the metrics service has fresh
// samples and it reads any of them, and every 15 s as upstream. Its memory (history) is this
// process's: a new leader begins with the present size, and so shrinks nothing for a
// stabilization window.
package podautoscaler
