// Package controllers plays the same story to two clusters and compares what their
// controllers make of it: kube-controller-manager's over kube-apiserver, and ours.
//
// A Sequence is a story in a namespace of its own: steps that create, edit and delete
// objects, end containers, lose nodes. Both Sides have the same tiny kubelet and
// scheduler, this package's Kubelet, so that only controllers differ. After each step
// both sides settle: nothing was written in the sequence's scope for a while. Then
// what is there is compared object by object, and the events that were told.
//
// Start with Sequences, which makes the stories, and with Run. Live is a running
// cluster; Recorded knows what upstream's was.
//
// Promises. Names that are generated, uids, times and addresses are replaced by what
// they stand for, nothing else is left out; a difference that testdata/known.yaml does
// not explain is a Finding. The same seed makes the same sequences. Nothing waits for
// a fixed time: a step ends when both sides agree, or stay silent for long.
package controllers
