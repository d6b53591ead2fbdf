// Package probe runs the probes of the node's containers.
//
// Start with Manager: workers hand it their pods' running containers with Sync,
// and ask for results with Result; a function given to New is told when a result
// changes. One goroutine waits for the earliest probe due; a probe has a
// goroutine only while it runs. What counts as a failure, the thresholds and the
// wording are kubelet's (pkg/kubelet/prober).
package probe
