// Package intake turns agents' reports into the status of pods and nodes.
//
// Intake reads the stream REPORTS, checks that a report concerns a pod of the node
// it comes from, merges it with what others wrote, and sends what differs in bulk:
// at once when idle, as many at a time as have come when busy. Reports are taken at
// least once and in any order of subjects; of one subject the newest wins. What
// concerns a pod that is no more is dropped.
package intake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
)

const (
	batch     = 500
	firstWait = 5 * time.Millisecond
	longest   = 10 * time.Second
	patience  = 12 // refusals of one report before it is given up
	// unread is how long a replay may take; what it has not read by then waits for another.
	unread = 30 * time.Second
)

var (
	pods  = proto.GroupResource{Resource: "pods"}
	nodes = proto.GroupResource{Resource: "nodes"}
)

// Intake is the status intake of one term of leadership.
type Intake struct {
	bus    *bus.Conn
	view   *statelog.View
	api    *apiclient.Client
	fence  *message.Fence
	logger *zap.Logger
	queue  *queue
	afresh chan struct{} // the stream may have begun anew

	lost    *lost
	replays *replays

	addresses *Addresses
	places    *places // work's alone
}

// New returns an intake on the view of the STATE stream.
func New(conn *bus.Conn, view *statelog.View, api *apiclient.Client, fence *message.Fence, addresses *Addresses, logger *zap.Logger) *Intake {
	in := &Intake{
		bus: conn, view: view, api: api, fence: fence, addresses: addresses, places: newPlaces(view), logger: logger,
		queue: newQueue(), afresh: make(chan struct{}, 1), lost: newLost(),
	}
	in.replays = newReplays(in.read)
	in.queue.caughtUp = in.caughtUp
	return in
}

// Run takes reports until ctx ends.
func (in *Intake) Run(ctx context.Context) error {
	if err := in.view.Ready(ctx); err != nil {
		return fmt.Errorf("waiting for the view: %w", err)
	}
	beats, err := in.bus.Subscribe(proto.HeartbeatSubjects, "", in.beat)
	if err != nil {
		return err
	}
	defer beats.Stop()
	// The stream is in memory: after the bus was away it may have begun anew.
	defer in.bus.OnReconnect(in.again)()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return in.consume(ctx) })
	group.Go(func() error { return in.work(ctx) })
	group.Go(func() error { return in.watch(ctx) })
	group.Go(func() error { return in.replays.Run(ctx) })
	return group.Wait()
}

// consume reads the newest report of every subject and then all that follow, and
// begins afresh when asked to.
func (in *Intake) consume(ctx context.Context) error {
	for ctx.Err() == nil {
		one, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			done <- in.bus.Consume(one, proto.ReportsStream.Name, nil, 0, func(m *bus.StreamMsg) {
				in.queue.put(&report{subject: m.Subject, data: m.Data})
			})
		}()
		var err error
		select {
		case <-in.afresh:
			cancel()
			<-done
		case err = <-done:
			cancel()
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("reading reports: %w", err)
		}
	}
	return nil
}

// again asks for all reports to be read anew.
func (in *Intake) again() {
	select {
	case in.afresh <- struct{}{}:
	default:
	}
}

// read reads what nodes said last, and returns when it has, or after a while.
func (in *Intake) read(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, unread)
	defer cancel()
	subjects := make([]string, len(names))
	for i, name := range names {
		subjects[i] = proto.ReportSubjects(name)
	}
	end := in.queue.rereading()
	defer end()
	// That ctx ended is how it ends.
	_ = in.bus.ConsumeWith(ctx, bus.ConsumeOptions{Stream: proto.ReportsStream.Name, Subjects: subjects, Started: func(pending uint64) {
		if pending == 0 {
			cancel()
		}
	}}, func(m *bus.StreamMsg) {
		in.queue.reread(&report{subject: m.Subject, data: m.Data})
		if m.Pending == 0 {
			cancel()
		}
	})
	return nil
}

// beat notices a node that was given up and lives: its agent has nothing new to say,
// so what it said last is written again.
func (in *Intake) beat(m *bus.Msg) {
	name, err := proto.HeartbeatNode(m.Subject)
	if err != nil || !in.lost.Has(name) {
		return
	}
	in.logger.Info("node lives again", zap.String("node", name))
	in.replays.Ask(name)
}

// caughtUp reads again what of a node was refused while too much of it waited.
func (in *Intake) caughtUp(node string) {
	in.logger.Warn("a node reported more than it may at a time", zap.String("node", node))
	in.replays.Ask(node)
}

func givenUp(node *corev1.Node) bool {
	for i := range node.Status.Conditions {
		if c := &node.Status.Conditions[i]; c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionUnknown
		}
	}
	return false
}

func (in *Intake) work(ctx context.Context) error {
	for {
		reports, err := in.queue.take(ctx, batch)
		if err != nil {
			return nil
		}
		in.handle(ctx, reports)
	}
}

// step is a report with the writes it asks for, one after the other.
type step struct {
	report   *report
	requests []apiclient.Request
}

// handle writes a batch: the first write of each report together, then the second
// of those that have one.
func (in *Intake) handle(ctx context.Context, reports []*report) {
	var steps []*step
	for _, r := range reports {
		requests, err := in.plan(ctx, r)
		switch {
		case errors.Is(err, errDrop):
			in.logger.Warn("dropping report", zap.String("subject", r.subject), zap.Error(err))
		case err != nil:
			in.retry(ctx, r, err)
		case len(requests) > 0:
			steps = append(steps, &step{r, requests})
		}
	}
	for len(steps) > 0 {
		steps = in.send(ctx, steps)
	}
}

// send sends the next write of each step and returns the steps that have more.
func (in *Intake) send(ctx context.Context, steps []*step) (more []*step) {
	requests := make([]apiclient.Request, len(steps))
	for i, s := range steps {
		requests[i] = s.requests[0]
	}
	results, err := in.api.Bulk(ctx, apiclient.BulkOptions{Fence: in.fence}, requests)
	if err != nil {
		for _, s := range steps {
			in.retry(ctx, s.report, err)
		}
		return nil
	}
	var newest uint64
	for i, result := range results {
		switch {
		case result.Err == nil:
			newest = max(newest, revision(result.Body))
			if s := steps[i]; len(s.requests) > 1 {
				s.requests = s.requests[1:]
				more = append(more, s)
			}
		case apierrors.IsNotFound(result.Err): // gone in the meantime
		default:
			in.retry(ctx, steps[i].report, result.Err)
		}
	}
	// The next report of the same pod then builds on this one.
	if err := in.view.WaitFor(ctx, newest); err != nil && ctx.Err() == nil {
		in.logger.Warn("waiting for own writes", zap.Error(err))
	}
	return more
}

func (in *Intake) retry(ctx context.Context, r *report, err error) {
	if ctx.Err() != nil {
		return
	}
	r.attempts++
	refused := apierrors.ReasonForError(err) != "" && !apierrors.IsConflict(err) && !apierrors.IsServiceUnavailable(err) && !apierrors.IsTooManyRequests(err)
	if refused && r.attempts >= patience {
		in.logger.Error("giving a report up", zap.String("subject", r.subject), zap.Int("attempt", r.attempts), zap.Error(err))
		return
	}
	if r.attempts > 3 {
		in.logger.Warn("writing a report", zap.String("subject", r.subject), zap.Int("attempt", r.attempts), zap.Error(err))
	}
	in.queue.again(ctx, r, min(firstWait<<min(r.attempts-1, 16), longest))
}
