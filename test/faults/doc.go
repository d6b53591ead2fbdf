// Package faults holds the claim "an acknowledged write is never lost, a read never
// stale, a watch never misses or invents" against faults, one after another: real
// nats-servers and gateways as processes of their own, killed, cut off and robbed of
// their power while clients write, read and watch.
//
// Start with Checker: Recorder writes down what each client asked, when, and what it was
// told or that it was told nothing; Check judges it. Each object's operations must have
// an order in which every answer is right (porcupine); all writes together must have one
// in the order of their resourceVersions; a list must be what was there at its
// resourceVersion; a watch must keep what Kubernetes promises of watches. The rig
// (Cluster) knows nothing of the checker, and the checker nothing of Kubus: tests with
// made-up histories show that it finds what it is there to find.
//
// What is not claimed: a version that was replaced before a gateway had read it is shown
// to no watcher of that gateway. Check counts those; where there is one gateway that was
// never cut off there are none.
package faults
