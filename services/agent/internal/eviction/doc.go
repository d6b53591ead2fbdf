// Package eviction ends pods before the node runs out of memory or disk, as kubelet does.
//
// Start with Threshold, what an operator sets, and with State, which says from one look at the
// node to the next what is short and for how long; both, and Rank and Message, are pure. Manager
// looks and acts.
//
// Promises: one pod at a time, and the next only when what the first had is free again or 30 s
// have passed; no pod that the node itself depends on (static, mirror, priority of system pods);
// of the others first those that use more of what is short than they asked for, of these the
// least important ones, of these the ones furthest above. Before a pod ends for want of disk,
// images that nobody uses go. A pod that has more on the disk than its own
// limits allow (volumes, containers) ends for itself, whatever the node has; what that takes to
// measure is less than a twentieth of the time. A node says that it is under pressure until it has not been for
// the transition period.
//
// Source: pkg/kubelet/eviction of Kubernetes v1.37, whose words the messages are.
package eviction
