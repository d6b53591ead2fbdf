// Package status writes a pod's status from what is known of its containers,
// exactly as kubelet would: phase, conditions, container states.
//
// Start with Generate. It is pure: the same Input gives the same status, and a
// second run over its own output changes nothing. Source of the rules:
// pkg/kubelet/kubelet_pods.go and pkg/kubelet/status/generate.go.
package status
