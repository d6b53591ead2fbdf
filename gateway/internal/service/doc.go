// Package service gives Services their addresses and ports: the hooks that
// upstream's Service storage runs around writes, for a cluster of one address
// family (IPv4).
//
// There is no allocation record. The Services themselves, found through indexes of
// the view, say what is taken; what a write in progress has chosen is held in
// memory until the write is in the view or has failed. So nothing can leak, and
// nothing needs repair after a crash. Gateways take turns by a fence of the state
// log, which costs a Service that needs something two small writes. No two
// Services ever own the same address or port, except if a gateway that held the
// fence comes to life again after half a minute's standstill between its choice
// and its write.
//
// Start with New.
package service
