// Package streams connects users with containers: pods/exec, attach, portforward,
// log and proxy, services/proxy, nodes/proxy. kubectl speaks WebSocket or SPDY on one side; on
// the other a tunnel over the bus reaches the agent of the pod's node, which needs
// no open port. A proxied request therefore goes to the pod that it names and
// nowhere else, whatever addresses objects claim.
//
// Start with New and Handlers. A stream lives as long as both sides; when one
// leaves, the other is told. What can be refused is refused with a Status before
// the connection is upgraded; later errors arrive as the Status at the end of
// the stream, as the protocols say.
package streams
