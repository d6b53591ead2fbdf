// Package pod runs the node's pods: the kubelet's part of the agent.
//
// Start with Manager, which is told of pods and of what happens to them, and
// keeps one worker a pod; and with Decide, the whole logic of a pod as a pure
// function. A worker is level-triggered: whatever woke it, it looks at the spec
// and at what the runtime says, decides, begins what is missing, and reports.
// Work that takes time runs on goroutines whose results come back as messages,
// so a worker never waits for a registry, a hook or a grace period.
//
// Promises: an agent that stops leaves everything running; one that starts finds
// it again and restarts nothing. No container of a pod is ever made twice, since
// only its worker makes containers, one attempt at a time. A deleted pod is
// reported gone only when nothing of it is left on the node.
//
// The resources of a pod are those that the manager has granted it: when it was admitted, and since then whenever its
// spec asked for others and the node had room (package resize). The worker brings what runs to them.
//
// One container:
//
//	Missing --wanted--> Busy --started--> Ready --its end--> Ended
//	Busy --could not start--> Missing or Ended, waits for RetryAt
//	Ended --restart policy, back-off over--> Busy
package pod
