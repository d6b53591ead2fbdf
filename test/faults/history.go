package faults

import (
	"sync"
	"time"
)

// Verb is what a client asks for.
type Verb uint8

const (
	Create Verb = iota + 1
	Update
	Patch
	Delete
	Get
	List
)

func (v Verb) String() string {
	return [...]string{"INVALID", "create", "update", "patch", "delete", "get", "list"}[v]
}

func (v Verb) writes() bool { return v >= Create && v <= Delete }

// Outcome is what the client was told.
type Outcome uint8

const (
	// Unknown: there was no answer, or one that leaves open what was done.
	Unknown Outcome = iota
	OK
	// Exists, Conflict and NotFound are answers about the object; nothing was done.
	Exists
	Conflict
	NotFound
	// Refused: nothing was done, and nothing is said of the object.
	Refused
)

func (o Outcome) String() string {
	return [...]string{"unknown", "ok", "exists", "conflict", "not found", "refused"}[o]
}

// Op is one request of one client. Every write has a value of its own, by which it is
// known again wherever it is read.
type Op struct {
	Client  int
	Verb    Verb
	Key     string
	Value   int            // written, or read by a get; 0: none
	Expect  uint64         // the revision that an update replaces
	Call    time.Duration  // since the history began
	Return  time.Duration  // the same; without meaning where the outcome is Unknown
	Outcome Outcome        //
	Rev     uint64         // given to what was written, or read; of a list: its own; 0: the answer names none
	Items   map[string]Ver // of a list
}

// Ver is one version of an object.
type Ver struct {
	Value int
	Rev   uint64
}

// Recorder writes a history down. Safe for concurrent use.
type Recorder struct {
	start time.Time

	mu    sync.Mutex
	ops   []Op
	value int
}

// NewRecorder begins a history.
func NewRecorder() *Recorder { return &Recorder{start: time.Now()} }

// NewValue gives a value that no other write has.
func (r *Recorder) NewValue() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value++
	return r.value
}

// Since is the time of the history.
func (r *Recorder) Since() time.Duration { return time.Since(r.start) }

// Add writes an operation down that has ended.
func (r *Recorder) Add(op Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
}

// Acknowledged counts the writes that were.
func (r *Recorder) Acknowledged() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range r.ops {
		if op.Verb.writes() && op.Outcome == OK {
			n++
		}
	}
	return n
}

// Ops gives what was recorded.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Op(nil), r.ops...)
}
