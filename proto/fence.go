package proto

import "slices"

// Fences by the user who alone may take them.
var fences = func() map[string][]string {
	all := map[string][]string{
		SchedulerUser: {"scheduler-broker", "scheduler-planner"},
		StatusUser:    {"status"},
		CloudUser:     {"cloud"},
		EventsUser:    {"events"},
	}
	for _, g := range ControllerGroups() {
		all[ControllersLeader(g.Name)] = []string{ControllersFence(g.Name)}
	}
	return all
}()

// MayHold tells whether a fence is that user's to take.
func MayHold(user, fence string) bool { return slices.Contains(fences[user], fence) }
