// Package flow is API priority and fairness: who is served next when more is asked
// for than can be done at once. The semantics are upstream's own library
// (k8s.io/apiserver/pkg/util/flowcontrol): FlowSchemas sort requests into priority
// levels, a level has seats, requests wait for seats in fair queues, and what cannot
// wait is answered 429 with Retry-After. Ours are the edges: the objects are read
// from the gateway's view (no list, no watch, no informer of its own), the cost of a
// list is known from the view, and a bulk of many requests takes its seats once
// (docs/adr/0005-fairness.md).
//
// On a few CPUs seats are not enough, so two bounds stand before them: what one user has
// in hand while it is not alone (crowd), and how many requests that cost tens of
// milliseconds of a CPU are served at a time, the users in turn (lane). Whoever does not
// read what is written to it gives all of its places up (place).
//
// Start with New; Handler wraps what comes behind authentication, Bulk runs what has
// many requests inside, Run follows the objects. Before Run every request but those
// of system:masters is of the level catch-all.
package flow
