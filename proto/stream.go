package proto

import "time"

// Stream says what a JetStream stream of ours is. package bus turns it into the
// server's configuration, creates it, and corrects one that differs.
type Stream struct {
	Name        string
	Description string
	// Class is the first subject token of the objects it keeps; empty for a
	// stream that keeps no objects.
	Class    string
	Subjects []string
	// Memory keeps the stream in memory; only for what its producers send again.
	Memory bool
	// State streams deny delete and purge, keep one message a subject, refuse
	// rather than drop, allow atomic batches and per-message TTLs.
	State bool
	// LastPerSubject keeps only the newest message of a subject.
	LastPerSubject bool
	// Async gives up fsync before the acknowledgement (single server only).
	Async bool
	// Optional streams are made by their producer, where it is told to write at all.
	Optional bool
	MaxAge   time.Duration
	// MaxBytes and MaxMessages drop the oldest beyond them; 0 is no limit. Never on State.
	MaxBytes    int64
	MaxMessages int64
	// MaxMessageBytes refuses larger messages, headers included; 0 is the server's limit.
	MaxMessageBytes int32
}

// AuditSubject is where one stage of a request is written down, by the request's verb
// and resource; both may be empty.
func AuditSubject(verb, resource string) string {
	return "audit." + Token(verb) + "." + Token(resource)
}

// BarrierSubject: one tiny message there gives a read index (package statelog).
func BarrierSubject(stream, writer string) string {
	return "state_barrier." + stream + "." + Token(writer)
}

// StreamAdvisory is where the server tells that somebody changed a stream: what is
// CREATED, UPDATED or DELETED. Anybody of the account may say so too.
func StreamAdvisory(what, stream string) string {
	return "$JS.EVENT.ADVISORY.STREAM." + what + "." + stream
}

// FenceUseSubject is touched by each fenced commit, so that the fence is checked in it.
func FenceUseSubject(name string) string { return "state_fence_use." + Token(name) }

// The streams. Objects are kept by class, since resourceVersions are compared
// only within a resource and churn must not pin cold data.
var (
	StateStream = Stream{
		Name: "STATE", Class: "state", State: true,
		Description: "Kubernetes objects, one message a version; the sequence is the resourceVersion",
		Subjects:    []string{"state.>", "state_fence.*", "state_fence_use.*", "state_barrier.STATE.*"},
	}
	LeasesStream = Stream{
		Name: "LEASES", Class: "state_leases", State: true,
		Description: "coordination.k8s.io Leases, which change all the time",
		Subjects:    []string{"state_leases.>", "state_barrier.LEASES.*"},
	}
	EventsStream = Stream{
		Name: "EVENTS", Class: "state_events", State: true,
		Description: "Kubernetes Events; the gateway gives each a TTL of an hour",
		Subjects:    []string{"state_events.>", "state_barrier.EVENTS.*"},
	}
	ReportsStream = Stream{
		Name: "REPORTS", Memory: true, LastPerSubject: true, MaxBytes: 256 << 20, MaxMessages: 200_000, MaxMessageBytes: 512 << 10,
		Description: "what agents last said of their pods and nodes; sent again after a reconnect",
		Subjects:    []string{"report.>"},
	}
	ChangesStream = Stream{
		Name: "CHANGES", Async: true, MaxAge: 24 * time.Hour, MaxBytes: 256 << 20,
		Description: "the cluster's change events for automation",
		Subjects:    []string{"events.>"},
	}
	AuditStream = Stream{
		Name: "AUDIT", Async: true, Optional: true, MaxAge: 7 * 24 * time.Hour, MaxBytes: 1 << 30,
		Description: "audit events (audit.k8s.io/v1 Event, JSON) of requests to the API, where the gateway has a policy",
		Subjects:    []string{"audit.>"},
	}
)

// Streams lists all streams.
func Streams() []Stream {
	return []Stream{StateStream, LeasesStream, EventsStream, ReportsStream, ChangesStream, AuditStream}
}

// StateStreams lists the streams that keep objects.
func StateStreams() []Stream {
	return []Stream{StateStream, LeasesStream, EventsStream}
}

// Events is the one collection behind core/v1 and events.k8s.io/v1 Events.
var (
	Events = GroupResource{"", "events"}
	Leases = GroupResource{"coordination.k8s.io", "leases"}
)

// StreamFor names the stream that keeps a resource.
func StreamFor(gr GroupResource) *Stream {
	switch gr {
	case Events:
		return &EventsStream
	case Leases:
		return &LeasesStream
	}
	return &StateStream
}

// Headers of messages in state streams.
const (
	HeaderOperation = "Kubus-Op"      // "create" on an object's first version, "delete" on its tombstone, absent otherwise
	HeaderRequestID = "Kubus-Request" // the write's own id, to recognise it after an unknown outcome
	// HeaderSignature proves that a gateway wrote the message: key, sequence seen, MAC (statelog.Keys).
	HeaderSignature = "Kubus-Sig"
	OperationCreate = "create"
	OperationDelete = "delete"
)

// GoneTTL is how long the report of a pod's end stays, so that REPORTS does not
// keep every pod there ever was. It bounds how long the status service may be away.
const GoneTTL = 6 * time.Hour

// TombstoneTTL is how long a deletion stays in the log: well beyond any watch window.
const TombstoneTTL = time.Hour
