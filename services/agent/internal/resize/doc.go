// Package resize decides how a pod's resources change while it runs.
//
// There are three of them: what the pod asks for (its spec), what the node has granted (Allocation), and what the
// cgroups of its containers were last set to (Container.Set, kept with the container). The node grants what fits, and
// what runs is brought to what is granted: Compare says in which order, and which containers must restart for it.
//
// Promises: all but Save and Load is pure; Compare of what it asked for, done, asks for nothing.
// Source: pkg/kubelet/allocation and computePodResizeAction in pkg/kubelet/kuberuntime.
package resize
