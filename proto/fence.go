package proto

import "slices"

// Fences by the user who alone may take them.
var fences = map[string][]string{
	ControllerUser("generic-garbage-collector"): {"controllers"},
	SchedulerUser: {"scheduler-broker", "scheduler-planner"},
	StatusUser:    {"status"},
	CloudUser:     {"cloud"},
	EventsUser:    {"events"},
}

// MayHold tells whether a fence is that user's to take.
func MayHold(user, fence string) bool { return slices.Contains(fences[user], fence) }
