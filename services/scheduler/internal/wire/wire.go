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
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/services/scheduler/internal/plan"
)

// hold is how long a broker keeps a worker's question open; the worker then asks
// again, so that neither waits for ever for one that has died.
const hold = 25 * time.Second

// reply is every answer on the wire. Error is set when there is no other.
type reply struct {
	Eval   *plan.Eval   `json:"eval,omitempty"`
	Result *plan.Result `json:"result,omitempty"`
	Error  string       `json:"error,omitempty"`
}

// Offerer is a broker as ServeBroker needs it.
type Offerer interface {
	Offer(give func(*plan.Eval)) (cancel func() bool)
	Done(ctx context.Context, o plan.Outcome) error
}

// ServeBroker answers workers until ctx ends.
func ServeBroker(ctx context.Context, conn *bus.Conn, b Offerer, logger *zap.Logger) error {
	take, err := conn.Subscribe(proto.SchedulerTakeSubject(), "", func(m *bus.Msg) { offer(b, m, logger) })
	if err != nil {
		return err
	}
	defer take.Stop()
	done, err := conn.Subscribe(proto.SchedulerDoneSubject(), "", func(m *bus.Msg) {
		var o plan.Outcome
		err := json.Unmarshal(m.Data, &o)
		if err == nil {
			err = b.Done(ctx, o)
		}
		respond(m, reply{Error: text(err)}, logger)
	})
	if err != nil {
		return err
	}
	defer done.Stop()
	<-ctx.Done()
	return nil
}

// offer keeps the question until there is work, or until the worker has given up.
func offer(b Offerer, m *bus.Msg, logger *zap.Logger) {
	given := make(chan struct{})
	cancel := b.Offer(func(e *plan.Eval) {
		respond(m, reply{Eval: e}, logger)
		close(given)
	})
	giveUp := time.AfterFunc(hold, func() {
		if cancel() {
			respond(m, reply{}, logger)
		}
	})
	select {
	case <-given:
		giveUp.Stop()
	default:
	}
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
type Remote struct{ conn *bus.Conn }

// NewRemote makes a Remote.
func NewRemote(conn *bus.Conn) *Remote { return &Remote{conn} }

// Take implements plan.Queue.
func (r *Remote) Take(ctx context.Context) (*plan.Eval, error) {
	for {
		answer, err := r.request(ctx, proto.SchedulerTakeSubject(), struct{}{}, hold+5*time.Second)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			continue // the broker died while we waited; ask whoever is there now
		}
		if err != nil {
			return nil, err
		}
		if answer.Eval != nil {
			return answer.Eval, nil
		}
	}
}

// Done implements plan.Queue.
func (r *Remote) Done(ctx context.Context, o plan.Outcome) error {
	_, err := r.request(ctx, proto.SchedulerDoneSubject(), o, 5*time.Second)
	return err
}

// Apply implements plan.Applier.
func (r *Remote) Apply(ctx context.Context, p plan.Plan) (plan.Result, error) {
	answer, err := r.request(ctx, proto.SchedulerPlanSubject(), p, time.Minute)
	if err != nil {
		return plan.Result{}, err
	}
	if answer.Result == nil {
		return plan.Result{}, errors.New("the planner's answer holds no result")
	}
	return *answer.Result, nil
}

func (r *Remote) request(ctx context.Context, subject string, body any, timeout time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	data, err := json.Marshal(body)
	if err != nil {
		return reply{}, fmt.Errorf("encoding for %s: %w", subject, err)
	}
	data, err = r.conn.Request(ctx, subject, data)
	if err != nil {
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
