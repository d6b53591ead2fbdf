// Package device gives containers what device plugins offer: it is the node's side of upstream's API for them
// (k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1) and keeps who has what.
//
// Start with Manager. Plugins register at its socket; Capacity says what the node has of their resources, Allocate
// chooses for a pod before anything of it runs, Prepare says what a container is given each time that it starts. pick is
// the choice itself and pure.
//
// Promises: a device is never with two pods at once, also not after a restart: what a pod was given is on the disk before
// Allocate returns. Allocations are one at a time; a plugin that does not answer holds up the pods that want a device,
// as far as their contexts allow, and nothing else. A pod that has ended keeps its devices until another asks for some.
package device
