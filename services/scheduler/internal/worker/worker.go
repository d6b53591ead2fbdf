// Package worker finds nodes for pods. A worker has its own picture of the
// cluster, decides on it without asking anybody, and counts what it has proposed
// at once, so that the next decision sees it; the planner has the last word.
//
// Start with Worker.Run. Any number of workers may run, in any processes.
package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/services/scheduler/internal/candidate"
	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

const (
	// others is how many further nodes a placement names.
	others = 3
	// tries is how often rejected pods are planned again before the broker gets them back.
	tries = 4
	// keep is how many candidate sets are kept between evaluations.
	keep = 256
)

// Options of a worker.
type Options struct {
	Name     string
	InFlight int    // evaluations worked on while others wait for their commit; default 3
	Seed     uint64 // of the choice among equal nodes
	Logger   *zap.Logger
}

// Worker is safe for concurrent use.
type Worker struct {
	options Options
	queue   plan.Queue
	planner plan.Applier

	mirror *cluster.Shared // its lock guards what follows too
	sets   map[setKey]*kept
	clock  uint64
}

type setKey struct {
	shape *shape.Shape
	owner string
}

type kept struct {
	set  *candidate.Set
	used uint64
}

// New makes a worker; feed it by Apply and start it by Run.
func New(queue plan.Queue, planner plan.Applier, o Options) *Worker {
	if o.InFlight <= 0 {
		o.InFlight = 3
	}
	return &Worker{options: o, queue: queue, planner: planner, mirror: cluster.NewShared(), sets: map[setKey]*kept{}}
}

// Apply takes in what the log says.
func (w *Worker) Apply(b feed.Batch) { w.mirror.Apply(b) }

// Run works until ctx ends.
func (w *Worker) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	run := rand.Text() // this run of the worker
	for i := range w.options.InFlight {
		group.Go(func() error { return w.loop(ctx, fmt.Sprintf("%s/%s/%d", w.options.Name, run, i)) })
	}
	return group.Wait()
}

func (w *Worker) loop(ctx context.Context, slot string) error {
	for {
		eval, err := w.queue.Take(ctx, slot)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			w.options.Logger.Warn("taking work from the broker", zap.Error(err))
			if !pause(ctx, time.Second) {
				return nil
			}
			continue
		}
		outcome := w.Work(ctx, eval)
		if err := w.queue.Done(ctx, outcome); err != nil && ctx.Err() == nil {
			w.options.Logger.Warn("answering the broker", zap.Uint64("eval", eval.ID), zap.Error(err))
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Work plans one evaluation, has it committed, and plans what was rejected again.
func (w *Worker) Work(ctx context.Context, eval *plan.Eval) plan.Outcome {
	out := plan.Outcome{ID: eval.ID}
	left, after := eval.Pods, eval.After
	for range tries {
		if err := w.mirror.Reach(ctx, after); err != nil {
			out.Retry, out.Error = append(out.Retry, left...), err.Error()
			return out
		}
		d := w.decide(eval.Owner, left)
		out.At = d.at
		if len(d.failed) > 0 {
			out.Failed, out.Message = append(out.Failed, d.failed...), d.message
		}
		if len(d.placements) == 0 {
			return out
		}
		result, err := w.planner.Apply(ctx, plan.Plan{Worker: w.options.Name, After: after, Placements: d.placements})
		if err != nil {
			left = uids(d.placements)
			out.Released = append(out.Released, w.forget(d.placements, left)...)
			out.Retry, out.Error = append(out.Retry, left...), err.Error()
			return out
		}
		w.move(result.Moved)
		w.forget(d.placements, result.Dropped)
		out.Released = append(out.Released, w.forget(d.placements, result.Rejected)...)
		if len(result.Refused) > 0 {
			out.Released = append(out.Released, w.forget(d.placements, result.Refused)...)
			out.Retry, out.Error = append(out.Retry, result.Refused...), result.Error
		}
		if len(result.Rejected) == 0 {
			return out
		}
		left, after = result.Rejected, result.After
	}
	out.Retry, out.Error = append(out.Retry, left...), "rejected by the planner again and again"
	return out
}

// decision is what the worker makes of some pods of one shape.
type decision struct {
	placements []plan.Placement
	failed     []string
	message    string
	at         plan.Revision
}

// decide places as many pods as fit, in order. All pods have one shape, so the
// first that fits nowhere speaks for those behind it.
func (w *Worker) decide(owner string, pods []string) decision {
	w.mirror.Lock()
	defer w.mirror.Unlock()
	d := decision{at: w.mirror.At(), placements: make([]plan.Placement, 0, len(pods))}
	var set *candidate.Set
	var of *shape.Shape // what the set is of
	var near []int32
	for i, uid := range pods {
		pod := w.mirror.Pod(uid)
		if pod == nil || !pod.Pending() || pod.Shape.Gated || pod.Shape.Waits() {
			continue
		}
		if _, placed := w.mirror.Placed(uid); placed {
			continue
		}
		if pod.Shape != of {
			set, of = w.set(pod.Shape, owner), pod.Shape
		}
		at, ok := int32(0), false
		if pod.Shape.Placeable() {
			at, ok = set.Best()
		}
		if !ok {
			d.failed, d.message = w.pending(pods[i:]), w.diagnose(pod.Shape)
			return d
		}
		near = set.Others(near[:0], others)
		p := plan.Placement{UID: uid, Node: w.mirror.Node(at).Name, Others: make([]string, len(near))}
		for j, n := range near {
			p.Others[j] = w.mirror.Node(n).Name
		}
		w.mirror.Assume(uid, at)
		d.placements = append(d.placements, p)
	}
	return d
}

func (w *Worker) pending(pods []string) []string {
	return slices.DeleteFunc(slices.Clone(pods), func(uid string) bool {
		p := w.mirror.Pod(uid)
		return p == nil || !p.Pending()
	})
}

func (w *Worker) diagnose(s *shape.Shape) string {
	d := filter.NewDiagnosis(s)
	for i := range w.mirror.Slots() {
		d.Add(w.mirror.Node(int32(i)), w.mirror.HoldsLower(int32(i), s.Priority))
	}
	return d.Message()
}

// set finds or makes the candidates for a shape; the least used ones go.
func (w *Worker) set(s *shape.Shape, owner string) *candidate.Set {
	w.clock++
	key := setKey{s, owner}
	k := w.sets[key]
	if k == nil {
		if len(w.sets) >= keep {
			w.evict()
		}
		k = &kept{set: candidate.New(w.mirror.Mirror, s, owner, w.options.Seed+w.clock)}
		w.sets[key] = k
	}
	k.used = w.clock
	return k.set
}

func (w *Worker) evict() {
	for key, k := range w.sets {
		if k.used+keep/2 < w.clock {
			delete(w.sets, key)
		}
	}
}

// forget takes back what was assumed for some of the placements, and gives the
// nodes that this freed.
func (w *Worker) forget(placements []plan.Placement, which []string) []string {
	if len(which) == 0 {
		return nil
	}
	w.mirror.Lock()
	defer w.mirror.Unlock()
	gone := make(map[string]bool, len(which))
	for _, uid := range which {
		gone[uid] = true
		w.mirror.Forget(uid)
	}
	var nodes []string
	for _, p := range placements {
		if gone[p.UID] {
			nodes = append(nodes, p.Node)
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

// move follows the planner where it chose another of the proposed nodes.
func (w *Worker) move(moved []plan.Placement) {
	if len(moved) == 0 {
		return
	}
	w.mirror.Lock()
	defer w.mirror.Unlock()
	for _, p := range moved {
		w.mirror.Forget(p.UID)
		if at, ok := w.mirror.Index(p.Node); ok {
			w.mirror.Assume(p.UID, at)
		}
	}
}

func uids(placements []plan.Placement) []string {
	out := make([]string, len(placements))
	for i := range placements {
		out[i] = placements[i].UID
	}
	return out
}
