// Package oracle compares the scheduler with kube-scheduler's own framework, v1.37.2, in one
// process: random clusters and pods, all default plugins. Where upstream would let a pod run,
// what it says when there is no place, whom it takes away, and how good it finds a node: its
// word is the truth. Only tests are here; nothing that is shipped links kube-scheduler.
//
// The module's path lies below the scheduler's, so that it may look inside.
//
//	go test ./...                                     # what CI runs
//	go test -run TestS1 -timeout 0 -args -clusters 100000
package oracle
