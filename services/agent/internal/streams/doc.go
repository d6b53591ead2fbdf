// Package streams serves what a gateway asks of a node for its users: exec,
// attach, logs and port-forward, each as one tunnel.
//
// Start with Server. Channels follow the WebSocket protocol of Kubernetes: 0
// stdin, 1 stdout, 2 stderr, 3 the final v1.Status as JSON, 4 terminal sizes.
// Logs come on channel 1, a forwarded connection on channel 0. An error of the
// handler is the tunnel's end, in kubelet's words.
package streams
