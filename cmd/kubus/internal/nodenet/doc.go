// Package nodenet gives an instance's further nodes their place on the machine: a network
// and a UTS namespace each, and a link to a bridge on which they and the machine meet.
//
//	machine ── kn-<hash> (bridge, first address of the node range)
//	              ├── kn<hash>-2 ── eth0 of node 2 (second address)
//	              └── kn<hash>-3 ── eth0 of node 3
//
// What nodes send elsewhere leaves with the machine's address; what comes from elsewhere
// does not reach the machine's address on the bridge. Ensure may be called again: it makes
// what is missing and leaves what is there. Inside a node nothing is set up but its link
// and its routes to the machine; the node's agent and proxy do the rest, as on a machine of
// its own. Remove and Purge take it all away, with what the agent and the proxy made there.
package nodenet
