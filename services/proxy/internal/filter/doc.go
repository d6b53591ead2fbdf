// Package filter turns NetworkPolicies into the contents of one table of nftables: what one
// node's kernel must hold to decide as policy.Cluster does about the packets of its pods. It
// is pure.
//
// Start with Table: it is told of objects, Delta gives what must be written since the last
// Commit, and only that: a pod that changes touches the sets that it is in.
//
// Where a packet goes, after Services have given it a pod's address (hook forward, so what
// the node itself sends and gets is not seen, nor ever held back):
//
//	egress   of a known connection, of a pod to itself, to the cluster's DNS on a node: accept
//	         sender's address -> map "from" -> accept, or a group: out-of-<policies>
//	         else an address of this node's range: drop (a pod not known yet)
//	ingress  the same, but for DNS, with the receiver's address, the map "to", and in-of-<policies>
//
//	in-of-<policies>  a chain for all pods that the same policies select: one jump a policy,
//	                  then drop
//	in-<policy>       one rule for each form of peers and ports; accept ends this hook's
//	                  chain, and the other direction is asked by the other chain
//
// Sets of a policy's rule: addresses of pods ("p"), blocks ("b"), ports by name ("n", with
// the address of the pod that names them). Only policies that select a pod of this node are
// there.
package filter
