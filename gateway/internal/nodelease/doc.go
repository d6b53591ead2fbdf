// Package nodelease shows a Lease for each node whose agent beats on the bus.
//
// A kubelet renews its Lease in the API every 10 s. Heartbeats of agents are core
// messages that nobody stores; the Lease is made when somebody looks. Start with
// Leases: Listen hears heartbeats, Get and List show.
//
// Promises. A heartbeat costs one map entry a node and no allocation after the
// first. A Lease is shown while its Node and the namespace exist; its renewTime is
// when this process heard the node last, so a process that has just started shows
// nothing of a node until then. What is stored under the same name is not known
// here: callers let it win.
package nodelease
