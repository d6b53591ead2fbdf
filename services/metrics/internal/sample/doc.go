// Package sample keeps the last readings of each container and node, and makes rates
// of them.
//
// Start with Store. Take stores what a node says; Node and Pod give rates over a window of
// the last seconds (history.go): 15 s where the load stays what it is, less since it became
// another, and from one reading to the next where readings are further apart. A node's word is kept under its own name, and counts for
// pods that are bound to it: who asks names both.
//
// A container's first reading gives a rate too when the container is young: from its start,
// when it had used nothing.
//
//	     Take            Take                  missing rounds
//	none ────► one reading ────► two and more = rate ────────► none
//	             │ young: rate since its start      started anew: one reading
package sample
