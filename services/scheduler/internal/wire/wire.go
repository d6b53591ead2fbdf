// Package wire lets the scheduler's roles live in different processes: it serves
// a broker and a planner on the bus, and is both to a worker elsewhere. Messages
// are core request and reply; losing one costs time, never a pod, since whoever
// waits asks again and evaluations have leases.
package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/services/scheduler/internal/plan"
)

// hold is how long a broker keeps a worker's question open; the worker then asks
// again, so that neither waits for ever for one that has died.
const hold = 25 * time.Second

// What announcements say has begun to serve.
const (
	partBroker  = "broker"
	partPlanner = "planner"
)

// errFresh ends requests to one that may have died.
var errFresh = errors.New("another broker or planner has taken over")

// reply is every answer on the wire. Error is set when there is no other.
type reply struct {
	Eval   *plan.Eval   `json:"eval,omitempty"`
	Result *plan.Result `json:"result,omitempty"`
	Error  string       `json:"error,omitempty"`
}

// Broker is a broker as ServeBroker needs it.
type Broker interface {
	Offer(give func(*plan.Eval)) (cancel func() bool)
	Return(id uint64)
	Done(ctx context.Context, o plan.Outcome) error
}

// ServeBroker answers workers until ctx ends.
func ServeBroker(ctx context.Context, conn *bus.Conn, b Broker, logger *zap.Logger) error {
	h := &hands{broker: b, log: logger, slots: map[string]*hand{}}
	take, err := conn.Subscribe(proto.SchedulerTakeSubject(), "", h.take)
	if err != nil {
		return err
	}
	defer take.Stop()
	done, err := conn.Subscribe(proto.SchedulerDoneSubject(), "", func(m *bus.Msg) {
		var o plan.Outcome
		err := json.Unmarshal(m.Data, &o)
		if err == nil {
			h.done(o.ID)
			err = b.Done(ctx, o)
		}
		respond(m, reply{Error: text(err)}, logger)
	})
	if err != nil {
		return err
	}
	defer done.Stop()
	if err := announce(ctx, conn, partBroker); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// hands knows what the workers hold. A worker that asks again from a slot did not
// get, or has lost, what was given to that slot.
type hands struct {
	broker Broker
	log    *zap.Logger

	mu    sync.Mutex // guards what follows
	slots map[string]*hand
}

type hand struct {
	cancel func() bool
	eval   atomic.Uint64 // given and not answered; 0 for none
}

type takeRequest struct {
	Slot string `json:"slot"`
}

// take keeps the question until there is work, or until the worker asks again.
func (h *hands) take(m *bus.Msg) {
	var r takeRequest
	if err := json.Unmarshal(m.Data, &r); err != nil {
		respond(m, reply{Error: err.Error()}, h.log)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.slots[r.Slot]; old != nil && !old.cancel() {
		if id := old.eval.Load(); id != 0 {
			h.broker.Return(id)
		}
	}
	now := &hand{}
	now.cancel = h.broker.Offer(func(e *plan.Eval) {
		now.eval.Store(e.ID)
		respond(m, reply{Eval: e}, h.log)
	})
	h.slots[r.Slot] = now
	if now.eval.Load() != 0 {
		return
	}
	time.AfterFunc(hold, func() { // a worker that lives asks again
		if now.cancel() {
			respond(m, reply{}, h.log)
			h.forget(r.Slot, now)
		}
	})
}

func (h *hands) forget(slot string, it *hand) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.slots[slot] == it {
		delete(h.slots, slot)
	}
}

func (h *hands) done(id uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for slot, it := range h.slots {
		if it.eval.Load() == id {
			delete(h.slots, slot)
		}
	}
}

// announce tells the workers that somebody new is there to be asked, once the
// server knows of our subscriptions.
func announce(ctx context.Context, conn *bus.Conn, part string) error {
	if err := conn.Flush(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("announcing: %w", err)
	}
	return conn.Publish(proto.SchedulerReadySubject(), []byte(part))
}

// ServePlanner verifies and commits plans from other processes until ctx ends.
// Each plan waits in a goroutine of its own, which ends with ctx.
func ServePlanner(ctx context.Context, conn *bus.Conn, p plan.Applier, logger *zap.Logger) error {
	var running sync.WaitGroup
	sub, err := conn.Subscribe(proto.SchedulerPlanSubject(), "", func(m *bus.Msg) {
		var proposal plan.Plan
		if err := json.Unmarshal(m.Data, &proposal); err != nil {
			respond(m, reply{Error: err.Error()}, logger)
			return
		}
		running.Go(func() {
			result, err := p.Apply(ctx, proposal)
			if err != nil {
				respond(m, reply{Error: err.Error()}, logger)
				return
			}
			respond(m, reply{Result: &result}, logger)
		})
	})
	if err != nil {
		return err
	}
	defer sub.Stop()
	if err := announce(ctx, conn, partPlanner); err != nil {
		return err
	}
	<-ctx.Done()
	sub.Stop()
	running.Wait()
	return nil
}

func respond(m *bus.Msg, r reply, logger *zap.Logger) {
	data, err := json.Marshal(r)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		logger.Debug("answering a worker", zap.String("subject", m.Subject), zap.Error(err))
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Remote is the broker and the planner of other processes.
type Remote struct {
	conn *bus.Conn

	mu    sync.Mutex
	fresh map[string]chan struct{} // by part: closed when a new one begins to serve
}

// NewRemote makes a Remote. It listens for new brokers and planners until stop.
func NewRemote(conn *bus.Conn) (r *Remote, stop func(), err error) {
	r = &Remote{conn: conn, fresh: map[string]chan struct{}{partBroker: make(chan struct{}), partPlanner: make(chan struct{})}}
	sub, err := conn.Subscribe(proto.SchedulerReadySubject(), "", func(m *bus.Msg) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if waiting, ok := r.fresh[string(m.Data)]; ok {
			close(waiting)
			r.fresh[string(m.Data)] = make(chan struct{})
		}
	})
	if err != nil {
		return nil, nil, err
	}
	return r, sub.Stop, nil
}

// Take implements plan.Queue.
func (r *Remote) Take(ctx context.Context, slot string) (*plan.Eval, error) {
	for {
		answer, err := r.request(ctx, partBroker, proto.SchedulerTakeSubject(), takeRequest{slot}, hold+5*time.Second)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errFresh):
			continue // the broker died while we waited; ask whoever is there now
		case errors.Is(err, bus.ErrNoResponders):
			r.await(ctx)
			continue
		}
		if err != nil {
			return nil, err
		}
		if answer.Eval != nil {
			return answer.Eval, nil
		}
	}
}

// await returns when a broker begins to serve, or after a while in case that was missed.
func (r *Remote) await(ctx context.Context) {
	r.mu.Lock()
	fresh := r.fresh[partBroker]
	r.mu.Unlock()
	timer := time.NewTimer(hold)
	defer timer.Stop()
	select {
	case <-fresh:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Done implements plan.Queue.
func (r *Remote) Done(ctx context.Context, o plan.Outcome) error {
	_, err := r.request(ctx, partBroker, proto.SchedulerDoneSubject(), o, 5*time.Second)
	if errors.Is(err, errFresh) { // tell the new one; it takes what it can use
		_, err = r.request(ctx, partBroker, proto.SchedulerDoneSubject(), o, 5*time.Second)
	}
	return err
}

// Apply implements plan.Applier.
func (r *Remote) Apply(ctx context.Context, p plan.Plan) (plan.Result, error) {
	answer, err := r.request(ctx, partPlanner, proto.SchedulerPlanSubject(), p, time.Minute)
	if err != nil {
		return plan.Result{}, err
	}
	if answer.Result == nil {
		return plan.Result{}, errors.New("the planner's answer holds no result")
	}
	return *answer.Result, nil
}

func (r *Remote) request(ctx context.Context, part, subject string, body any, timeout time.Duration) (reply, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return reply{}, fmt.Errorf("encoding for %s: %w", subject, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	answered := make(chan struct{})
	defer close(answered)
	r.mu.Lock()
	fresh := r.fresh[part]
	r.mu.Unlock()
	go func() { // ends with the request
		select {
		case <-fresh:
			abandon(errFresh)
		case <-answered:
		}
	}()
	data, err = r.conn.Request(ctx, subject, data)
	if err != nil {
		if errors.Is(context.Cause(ctx), errFresh) {
			return reply{}, fmt.Errorf("requesting %s: %w", subject, errFresh)
		}
		return reply{}, err
	}
	var answer reply
	if err := json.Unmarshal(data, &answer); err != nil {
		return reply{}, fmt.Errorf("decoding the answer on %s: %w", subject, err)
	}
	if answer.Error != "" {
		return reply{}, fmt.Errorf("%s: %s", subject, answer.Error)
	}
	return answer, nil
}
