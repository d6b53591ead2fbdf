// Package service gives Services their addresses and ports: the hooks that
// upstream's Service storage runs around writes.
//
// What a Service holds is claimed in the log before the Service is written, or in one
// batch with it when many write (statelog.Write.First): an IPAddress
// (networking.k8s.io) for each ClusterIP, a record of our own for each node port.
// The claim's name is the address or the port and it is created by compare-and-set,
// so the log decides who has it, without a lock and without a clock, however many
// gateways there are.
//
// A claim may be taken away only from a Service that does not hold its value and
// will not:
//
//   - whoever made it takes it back when the Service's write was refused;
//   - whoever removed or changed the Service releases what it held, at the revision
//     that the claim had before;
//   - a claim whose gateway died between the two writes is released by Repair (or
//     by a user who deletes the IPAddress) in one atomic batch with a new version of
//     the Service, or a tombstone where there is none. The write that was to follow
//     names the version before (statelog.Write.Strict), so the log refuses it, should
//     its gateway come to life again.
//
// The tombstone stays an hour; a gateway that stands still for longer has lost its
// connection to the store, and nothing is published again after that.
//
// Start with New; Repair runs as long as the gateway does.
package service
