// Package plan holds what the scheduler's roles say to each other: the broker
// hands an Eval to a worker, the worker submits Plans to the planner, and answers
// the broker with an Outcome. In one process they are passed as they are, between
// processes as JSON over core request and reply; none of them is ever stored,
// because all of them follow from the pending pods in the state log.
package plan

import "context"

// MostPods bounds an Eval, and so a Plan and the bulk request made of it.
const MostPods = 1000

// Revision is how far somebody has read the log, for each resource.
type Revision struct {
	Pods    uint64 `json:"pods"`
	Nodes   uint64 `json:"nodes"`
	Volumes uint64 `json:"volumes,omitempty"` // and claims and storage classes
	Spaces  uint64 `json:"spaces,omitempty"`  // namespaces and disruption budgets
}

// Covers tells whether r is at least as new as o.
func (r Revision) Covers(o Revision) bool {
	return r.Pods >= o.Pods && r.Nodes >= o.Nodes && r.Volumes >= o.Volumes && r.Spaces >= o.Spaces
}

// Eval asks a worker to find nodes for pods of one kind, in their order: of one shape, but
// for the nodes that they demand by name.
type Eval struct {
	ID    uint64   `json:"id"`
	Owner string   `json:"owner,omitempty"` // whose pods are to be spread; "" for none
	Pods  []string `json:"pods"`            // UIDs
	After Revision `json:"after"`           // the worker must have read at least this
}

// Outcome answers an Eval. Pods that it does not name are placed, or no longer pending.
type Outcome struct {
	ID uint64 `json:"id"`
	// Failed pods fit on no node at At; Message says why, for those of them that Messages
	// does not name.
	Failed   []string          `json:"failed,omitempty"`
	Message  string            `json:"message,omitempty"`
	Messages map[string]string `json:"messages,omitempty"`
	At       Revision          `json:"at"`
	// Retry lists pods that could not be decided: rejected too often, or an error.
	Retry []string `json:"retry,omitempty"`
	Error string   `json:"error,omitempty"`
	// Released names nodes on which the worker counted pods that were then refused:
	// others may have been told "no room" because of them.
	Released []string `json:"released,omitempty"`
}

// Says is the message for a failed pod.
func (o *Outcome) Says(uid string) string {
	if m, ok := o.Messages[uid]; ok {
		return m
	}
	return o.Message
}

// Plan proposes nodes for pods.
type Plan struct {
	Worker     string      `json:"worker"`
	After      Revision    `json:"after"` // the planner must have read at least this
	Placements []Placement `json:"placements"`
	// Preemptions make room for pods that fit nowhere; they come after the placements.
	Preemptions []Preemption `json:"preemptions,omitempty"`
}

// Preemption proposes to take pods away from a node, so that a more important one fits.
type Preemption struct {
	UID     string   `json:"uid"` // of the pod that is to get the room
	Node    string   `json:"node"`
	Victims []string `json:"victims"` // UIDs, the most important first
}

// Placement proposes a node for one pod, and others to try when it is taken.
type Placement struct {
	UID    string   `json:"uid"`
	Node   string   `json:"node"`
	Others []string `json:"others,omitempty"`
	// Gang joins placements that stand behind each other in the plan: all of them or none.
	Gang string `json:"gang,omitempty"`
}

// Result answers a Plan after the commit. Placements that it does not name are
// bound as proposed.
type Result struct {
	Moved    []Placement `json:"moved,omitempty"`    // bound, but to this node
	Rejected []string    `json:"rejected,omitempty"` // to be planned again
	Refused  []string    `json:"refused,omitempty"`  // by the API; Error says why the last of them
	Error    string      `json:"error,omitempty"`
	Dropped  []string    `json:"dropped,omitempty"` // gone, bound by somebody else, or in hand already
	// Spared pods got no room by preemption: it would not help any more, or the API refused.
	Spared []string `json:"spared,omitempty"`
	After  Revision `json:"after"` // what a new plan must have read
}

// Queue is the broker as workers see it.
type Queue interface {
	// Take waits for work until ctx ends. Slot names the hand that takes it, among
	// all workers: who asks again with a slot has nothing in that hand.
	Take(ctx context.Context, slot string) (*Eval, error)
	// Done answers an Eval, exactly once.
	Done(ctx context.Context, o Outcome) error
}

// Applier is the planner as workers see it.
type Applier interface {
	// Apply verifies and commits. It returns when the outcome is known; an error
	// says that nothing of it is.
	Apply(ctx context.Context, p Plan) (Result, error)
}
