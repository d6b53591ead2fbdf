// Package store is the state log's server: NATS with JetStream, embedded in the
// process that calls Start, or run separately from the configuration that Render
// writes. It is the only importer of nats-server.
//
// Start with Options. Both forms get the same settings: every acknowledged write
// is on disk (sync_interval always), messages up to 8 MiB, no monitoring port, and
// for each User an account with exactly the subjects that its proto.Role names. A server without a
// listening address is reached by InProcessConn alone and asks nobody for a key.
//
// Start takes no lock on its directory: whoever starts it owns the directory.
package store
