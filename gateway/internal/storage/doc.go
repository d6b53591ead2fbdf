// Package storage gives upstream's write handlers (k8s.io/apiserver
// endpoints/handlers) their storage over the state log. It redoes what upstream's
// generic registry Store does around the strategies: begin hooks, names made of
// generateName, create on update, unconditional updates, updates that change
// nothing, preconditions, finalizers, graceful deletion, dry runs and
// deletecollection. docs/adr/0002-write-path.md says why.
//
// Start with Store. Set makes the stores of all kinds, and of the subresources
// that are more than an update with another strategy.
//
// Promises. Each write is one compare-and-set on one object; a lost race is
// retried on what the winner wrote and reported as a conflict only when the client
// named a version. What a verb reads comes from the process's view; before it
// fails on what it read, it reads again behind a barrier, so that a slow view
// never shows as an error. A write has reached this process's view when it returns.
package storage
