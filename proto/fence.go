package proto

import "slices"

// Fences by the user who alone may take them.
var fences = map[string][]string{
	ControllerUser("generic-garbage-collector"): controllerFences(),
	SchedulerUser: {"scheduler-broker", "scheduler-planner"},
	StatusUser:    {"status"},
	CloudUser:     {"cloud"},
	EventsUser:    {"events"},
}

// MayHold tells whether a fence is that user's to take.
func MayHold(user, fence string) bool { return slices.Contains(fences[user], fence) }

// ControllerGroups are the groups of controllers, each with a leader of its own.
var ControllerGroups = []string{"workloads", "network", "lifecycle", "nodes", "storage", "autoscaling"}

// ControllersFence is the fence of the leader of a group of controllers.
func ControllersFence(group string) string { return "controllers-" + group }

func controllerFences() (all []string) {
	for _, group := range ControllerGroups {
		all = append(all, ControllersFence(group))
	}
	return all
}
