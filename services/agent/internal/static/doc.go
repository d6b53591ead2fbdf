// Package static runs pods from files in a folder of the node, with or without the cluster, and
// shows each in the API as a mirror pod.
//
// Start with Source; Decide is its logic, and Read what a file says. A file is a pod's manifest;
// its name gets the node's behind it and its uid is a hash of what the file says, so that a file
// that changes is another pod: the old one ends, then the new one starts. The folder is watched by
// inotify. A file that cannot be read leaves the pod that it was, and says so.
//
// Promises: a pod starts without any answer of the API, and nothing that happens to its mirror
// ends it; the mirror has the annotations kubernetes.io/config.source, config.hash and
// config.mirror, and a mirror that is deleted or is not that of the file comes back. When the
// file is gone the pod ends with its grace period, and the mirror with it.
//
// Source: pkg/kubelet/config, pkg/kubelet/pod of Kubernetes v1.37.
package static
