package job

import (
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/controllers/internal/event"
)

// Occurrence is an Event that a plan wants to be told.
type Occurrence struct{ Type, Reason, Message string }

// Tell records occurrences about an object.
func Tell(r *event.Recorder, about event.Object, all []Occurrence) {
	for _, o := range all {
		if o.Type == corev1.EventTypeNormal {
			r.Normal(about, o.Reason, "%s", o.Message)
		} else {
			r.Warning(about, o.Reason, "%s", o.Message)
		}
	}
}
