// Package route leads packets for other nodes' pods to those nodes.
//
// Plan says which routes there should be, from what is known of the nodes; Keeper holds
// the kernel to it. Every route carries Protocol and is within the cluster's pod range, by
// which it is told from everybody else's: two clusters of a machine have ranges apart.
//
// There are two ways. Routes: the network between the nodes carries pods' addresses, as the
// bridge of a machine with several nodes does. VXLAN: packets travel in UDP between the
// nodes' addresses, over any network; each node has one device, and what a packet needs to
// get to a node (its route, its link address, where that is) is set by us and never asked
// for on the wire.
package route
