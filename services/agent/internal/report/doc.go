// Package report tells the cluster what happens on the node: pods' statuses and
// the node's own on the REPORTS stream, Kubernetes Events through the API.
//
// Start with Pods and Events. Reports coalesce: what counts is the last one of a
// pod, and a reader may miss those before. They are sent again in full after a
// reconnect, since the stream is memory, and every ten minutes, since it has a bound. Callers never wait.
package report
