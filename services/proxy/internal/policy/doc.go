// Package policy says what NetworkPolicies allow. It is pure: objects in, decisions out; no
// clock, no kernel, and the same objects give the same answer.
//
// Start with Cluster, which is told of pods, namespaces, nodes and policies. Decide answers
// for two ends and a port, and names the rule that decides; package filter asks the parts of
// that question for all of a node's pods.
//
// What an object says is read as the API documents it (networking.k8s.io/v1): a pod that a
// policy selects for a direction is isolated in it, and gets what any of these policies
// allows; what the pods' own node sends and gets is never held back, nor what a pod sends to
// itself, nor what it asks the cluster's DNS, which is no pod here but the nodes'. Pods on the node's own network have the node's address and are that address. A pod
// that has ended has no address. What cannot be read in a policy allows nothing.
package policy
