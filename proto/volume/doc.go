// Package volume holds the rules by which persistent volumes and claims find each
// other, for those who must agree on them: the scheduler, which chooses a node and a
// volume for a claim that waits for its first consumer, and the controllers, which
// complete the binding, and the agent, which mounts the outcome.
//
// Start with Match and Fits. Everything here is pure and takes Kubernetes' own types;
// semantics are those of k8s.io/component-helpers/storage/volume, which would link a
// clientset into every service.
package volume
