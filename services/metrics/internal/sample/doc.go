// Package sample keeps the last two readings of each container and node, and makes rates
// of them.
//
// Start with Store. Take stores what a node says; Node and Pod give rates over the window
// between the last two readings. A node's word is kept under its own name, and counts for
// pods that are bound to it: who asks names both.
//
// A container's first reading gives a rate too when the container is young: from its start,
// when it had used nothing.
//
//	     Take            Take                  missing rounds
//	none ────► one point ────► two points = rate ────────────► none
//	             │ young: rate since its start      started anew: one point
package sample
