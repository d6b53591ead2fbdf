// Package service gives Services their addresses and ports: the hooks that
// upstream's Service storage runs around writes, for a cluster of one address
// family (IPv4).
//
// There is no allocation record. The Services themselves, found through indexes of
// the view, say what is taken; what a write in progress has chosen is held in
// memory until the write is in the view or has failed. So nothing can leak, and
// nothing needs repair after a crash. Within one gateway no two Services ever own
// the same address or port. Two gateways that choose the same one at the same
// moment are not kept apart.
//
// Start with New.
package service
