// Package oracle compares the scheduler with kube-scheduler's own framework, v1.37.2, in one
// process: random clusters and pods, all default plugins. Where upstream would let a pod run,
// what it says when there is no place, whom it takes away, and how good it finds a node: its
// word is the truth. Only tests are here; nothing that is shipped links kube-scheduler.
//
// The module's path lies below the scheduler's, so that it may look inside.
//
// A sweep asks both sides about the pods of all clusters, and each rule has a test that tells what
// broke it. The clusters follow from their seeds alone; only such are made as can come to be,
// where upstream counts on that (two pods that run have no port of a node in common, and so on).
//
//	go test ./...                                     # what CI runs: 2,000 clusters
//	go test -timeout 0 -args -clusters 100000
//	go test -v -args -first 17 -clusters 1            # shows the cluster, when it differs
package oracle
