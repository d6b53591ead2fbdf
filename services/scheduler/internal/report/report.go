// Package report tells people what the scheduler decided: the PodScheduled
// condition of pods that fit nowhere, and the events Scheduled,
// FailedScheduling and Preempted. It writes in bulks of its own, after the bindings, and never
// holds one up; under pressure the oldest events are dropped, conditions never.
//
// Start with Reporter, whose Scheduled and Unschedulable return at once.
package report

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/tell"
	"kubus.dev/services/scheduler/internal/shape"
)

const (
	// mostEvents bounds the events that wait to be written.
	mostEvents = 20000
	// linger is how long the first report waits for others to go with.
	linger = 20 * time.Millisecond
	// yield is how long reports wait at most for bindings to be done.
	yield = time.Second
	// mostAtOnce bounds one bulk, so that it never takes the gateway for long.
	mostAtOnce = 250
)

// Condition is a PodScheduled=False to be shown on a pod.
type Condition struct {
	Pod *shape.Pod
	corev1.PodCondition
}

// Writer writes conditions and events. It may fail as a whole; what an API server
// refuses one by one is its own affair, for nothing here is worth a second try.
type Writer interface {
	Write(ctx context.Context, conditions []Condition, events []corev1.Event) error
}

// Reporter is safe for concurrent use.
type Reporter struct {
	writer Writer
	busy   func() bool
	log    *zap.Logger
	now    func() time.Time

	mu         sync.Mutex // guards what follows
	conditions map[string]Condition
	events     []corev1.Event
	dropped    int

	wake chan struct{}
}

// Options of a reporter.
type Options struct {
	Busy   func() bool // whether bindings are under way; may be nil
	Now    func() time.Time
	Logger *zap.Logger
}

// New makes a reporter.
func New(w Writer, o Options) *Reporter {
	if o.Busy == nil {
		o.Busy = func() bool { return false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Reporter{writer: w, busy: o.Busy, now: o.Now, log: o.Logger, conditions: map[string]Condition{}, wake: make(chan struct{}, 1)}
}

// Scheduled reports a binding.
func (r *Reporter) Scheduled(pod *shape.Pod, node string) {
	r.mu.Lock()
	delete(r.conditions, pod.UID)
	r.event(pod, pod.Shape.SchedulerName, corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, node))
	r.mu.Unlock()
	r.kick()
}

// Unschedulable reports that a pod fits nowhere. What the pod shows already is
// not written again.
func (r *Reporter) Unschedulable(pod *shape.Pod, message string) {
	if pod.Unscheduled == (shape.Condition{Reason: corev1.PodReasonUnschedulable, Message: message}) {
		return
	}
	r.mu.Lock()
	r.conditions[pod.UID] = Condition{pod, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message, LastTransitionTime: metav1.NewTime(r.now()), ObservedGeneration: pod.Generation,
	}}
	r.event(pod, pod.Shape.SchedulerName, corev1.EventTypeWarning, "FailedScheduling", message)
	r.mu.Unlock()
	r.kick()
}

// Preempted reports that a pod goes because another one wants its room.
func (r *Reporter) Preempted(victim, by *shape.Pod, node string) {
	r.mu.Lock()
	r.event(victim, by.Shape.SchedulerName, corev1.EventTypeNormal, "Preempted", fmt.Sprintf("Preempted by pod %s on node %s", by.UID, node))
	last := &r.events[len(r.events)-1]
	last.Action = "Preempting"
	last.Related = &corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: by.Namespace, Name: by.Name, UID: types.UID(by.UID), ResourceVersion: fmt.Sprint(by.Revision)}
	r.mu.Unlock()
	r.kick()
}

func (r *Reporter) event(pod *shape.Pod, scheduler, kind, reason, text string) {
	if len(r.events) >= mostEvents {
		r.events = append(r.events[:0], r.events[len(r.events)/2:]...)
		r.dropped += mostEvents / 2
	}
	r.events = append(r.events, tell.Event(tell.Source{Component: scheduler}, &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: types.UID(pod.UID), ResourceVersion: fmt.Sprint(pod.Revision),
	}, suffix(), kind, reason, text, r.now()))
}

func suffix() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (r *Reporter) kick() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run writes what is reported until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		r.rest(ctx, linger)
		for waited := linger; r.busy() && waited < yield; waited += 2 * linger {
			r.rest(ctx, 2*linger)
		}
		for conditions, events := r.take(); len(conditions)+len(events) > 0; conditions, events = r.take() {
			if err := r.writer.Write(ctx, conditions, events); err != nil && ctx.Err() == nil {
				r.log.Warn("writing conditions and events", zap.Error(err))
				r.giveBack(conditions)
				r.rest(ctx, time.Second)
			}
			if ctx.Err() != nil {
				return nil
			}
		}
	}
}

func (r *Reporter) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// take removes the next bulk: conditions before events.
func (r *Reporter) take() ([]Condition, []corev1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropped > 0 {
		r.log.Warn("events were dropped", zap.Int("events", r.dropped))
		r.dropped = 0
	}
	var conditions []Condition
	for id, c := range r.conditions {
		if len(conditions) == mostAtOnce {
			return conditions, nil
		}
		conditions = append(conditions, c)
		delete(r.conditions, id)
	}
	n := min(mostAtOnce-len(conditions), len(r.events))
	events := r.events[:n:n]
	if r.events = r.events[n:]; len(r.events) == 0 {
		r.events = nil
	}
	return conditions, events
}

// giveBack keeps conditions that were not written, unless newer ones came.
func (r *Reporter) giveBack(conditions []Condition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conditions {
		if _, newer := r.conditions[c.Pod.UID]; !newer {
			r.conditions[c.Pod.UID] = c
		}
	}
}
