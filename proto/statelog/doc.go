// Package statelog is the cluster's only store: every Kubernetes object is a
// message of a JetStream stream, and the stream's sequence is its
// resourceVersion.
//
// Readers start with Views and View: a process holds each stream at most once, as
// encoded bytes in immutable snapshots, and watches fan out in memory. Where nobody
// else watches (Views.KeepLittle) the bytes are packed by one another. Writers
// start with Log, which only gateways may use: compare-and-set on one object,
// many concurrent writes grouped into one commit.
//
// Promises. A view shows only what is durable, and at a revision nothing that was
// written up to there is missing. The versions of one object appear in order and none that a watcher was promised is left out. A watch resumes
// from any revision in its window and is refused with ErrExpired below it. An
// acknowledged write survives the loss of power; a write whose outcome is
// unknown is looked up before anything is answered. Log.Commit returns after the
// process's own view shows the write.
package statelog
