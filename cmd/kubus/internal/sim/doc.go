// Package sim is nodes that run nothing: many agents with a null runtime in one process. Their
// pods are Running after a set delay, pass their probes, end when told to, and fail on demand;
// to the rest of the cluster they are nodes like others. For benchmarks, for the question what
// a scheduler would do with thousands of nodes, and for tests of what watches a cluster.
//
// Start with Run. What happens to a pod and when is decided by next, which is pure; what was
// decided is written in bulks, a few a second.
package sim
