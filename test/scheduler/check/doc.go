// Package check replays what a scheduler did, event by event, and says where it broke a rule:
// no node is overcommitted by a binding, of whatever resource, host port or number of pods; no
// claim for one pod has two; required anti-affinity holds both ways, required affinity and hard
// spreading as of the binding (goals S2, S4, S5 of the scheduler). It shares no code with the
// scheduler, and keeps no counters that a mistake could hide in: each binding is judged by
// looking at the pods that are there.
//
// Start with Checker. Events come in the order of their resourceVersions.
package check
