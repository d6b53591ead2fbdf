// Package proto is the contract of the bus: how subjects are built, which
// streams exist and with what settings, which role may use which subject, and
// which kinds of error cross the bus. docs/contracts.md says the same in prose.
//
// Start with Key (the name of one object in the state log), the subject
// functions beside it, Streams, and Roles. The package has no I/O and depends on
// nothing but the standard library.
package proto
