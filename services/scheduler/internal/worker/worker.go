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
	mathrand "math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/services/scheduler/internal/candidate"
	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/filter"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/preempt"
	"kubus.dev/services/scheduler/internal/shape"
)

const (
	// others is how many further nodes a placement names.
	others = 3
	// tries is how often rejected pods are planned again before the broker gets them back.
	tries = 4
	// few is up to how many nodes all are scored for each pod, to upstream's point: upstream too
	// looks at no fewer (its minFeasibleNodesToFind). Of more, it looks at a part.
	few = 100
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
	near   []int32 // scratch
	random *mathrand.Rand
}

// setKey is what pods have in common that may run on the same nodes. Self is nil while it
// does not matter who the pods are, and there are more than a few nodes.
type setKey struct {
	shape *shape.Shape
	owner string
	self  *shape.Identity
}

type kept struct {
	set  candidates
	used uint64
}

// candidates gives nodes, the best first.
type candidates interface {
	Best() (int32, bool)
	Others(dst []int32, n int) []int32
}

// New makes a worker; feed it by Apply and start it by Run.
func New(queue plan.Queue, planner plan.Applier, o Options) *Worker {
	if o.InFlight <= 0 {
		o.InFlight = 3
	}
	return &Worker{options: o, queue: queue, planner: planner, mirror: cluster.NewShared(), sets: map[setKey]*kept{}, random: mathrand.New(mathrand.NewPCG(o.Seed, 7))}
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
		if len(d.placements)+len(d.preemptions) == 0 {
			d.fail(&out, nil)
			return out
		}
		result, err := w.planner.Apply(ctx, plan.Plan{Worker: w.options.Name, After: after, Placements: d.placements, Preemptions: d.preemptions})
		if err != nil {
			left = uids(d.placements)
			out.Released = append(out.Released, w.forget(d.placements, left)...)
			d.fail(&out, w.spare(d.preemptions, beneficiaries(d.preemptions)))
			out.Retry, out.Error = append(out.Retry, left...), err.Error()
			return out
		}
		d.fail(&out, w.spare(d.preemptions, result.Spared))
		w.move(result.Moved)
		out.Released = append(out.Released, w.forget(d.placements, result.Dropped)...)
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
	placements  []plan.Placement
	failed      []failure
	preemptions []plan.Preemption
	at          plan.Revision
}

// failure is a pod that fits nowhere.
type failure struct {
	uid, message string
}

// fail tells of the pods that fit nowhere; those for which no room is made after all are to be
// tried again.
func (d *decision) fail(out *plan.Outcome, spared map[string]bool) {
	for _, f := range d.failed {
		switch {
		case spared[f.uid]:
			out.Retry = append(out.Retry, f.uid)
			continue
		case len(out.Failed) == 0:
			out.Message = f.message
		case f.message != out.Message:
			if out.Messages == nil {
				out.Messages = map[string]string{}
			}
			out.Messages[f.uid] = f.message
		}
		out.Failed = append(out.Failed, f.uid)
	}
}

// decide places as many pods as fit, in order. What fits nowhere speaks for those behind it
// that are like it.
func (w *Worker) decide(owner string, pods []string) decision {
	w.mirror.Lock()
	defer w.mirror.Unlock()
	d := decision{at: w.mirror.At(), placements: make([]plan.Placement, 0, len(pods))}
	full := map[setKey]*obstruction{}
	gangs := map[string]bool{}
	var set candidates
	var of setKey // what the set is of
	for _, uid := range pods {
		pod := w.mirror.Pod(uid)
		if pod == nil || !pod.Pending() || pod.Shape.Gated || pod.Shape.Waits() {
			continue
		}
		if _, placed := w.mirror.Placed(uid); placed {
			continue
		}
		if pod.Gang != "" {
			if name := pod.Namespace + "/" + pod.Gang; !gangs[name] {
				gangs[name] = true
				w.gang(&d, pod)
			}
			continue
		}
		if w.expected(&d, pod) {
			continue
		}
		key := w.key(pod, owner)
		if set == nil || key != of {
			set, of = w.set(key, pod), key
		}
		if full[key] == nil && pod.Shape.Placeable() && !w.mirror.Claimed(pod.Shape) {
			if at, ok := set.Best(); ok {
				w.place(&d, pod, at, set)
				continue
			}
		}
		if full[key] == nil {
			full[key] = w.obstruct(pod)
		}
		w.fail(&d, pod, full[key])
	}
	return d
}

// expected places a pod on the node where room was made for it, if there is room by now.
func (w *Worker) expected(d *decision, pod *shape.Pod) bool {
	at, ok := w.mirror.Nominated(pod.UID)
	if !ok || !pod.Shape.Placeable() {
		return false
	}
	ask := w.mirror.Ask(pod)
	if w.mirror.Check(&ask, at) != filter.OK {
		return false
	}
	w.place(d, pod, at, nil)
	return true
}

func (w *Worker) place(d *decision, pod *shape.Pod, at int32, set candidates) {
	p := plan.Placement{UID: pod.UID, Node: w.mirror.Node(at).Name}
	if pod.Gang != "" {
		p.Gang = pod.Namespace + "/" + pod.Gang
	}
	if set != nil {
		w.near = set.Others(w.near[:0], others)
		p.Others = make([]string, len(w.near))
		for i, n := range w.near {
			p.Others[i] = w.mirror.Node(n).Name
		}
	}
	w.mirror.Assume(pod.UID, at)
	d.placements = append(d.placements, p)
}

// obstruction is why pods of a kind fit nowhere. Hopeless is what is to be said when it is
// known that nobody can be taken away for them.
type obstruction struct {
	diagnosis *filter.Diagnosis
	nodes     []preempt.Node
	hopeless  string
}

func (w *Worker) obstruct(pod *shape.Pod) *obstruction {
	o := &obstruction{diagnosis: filter.NewDiagnosis(pod.Shape)}
	ask := w.mirror.Ask(pod)
	for i := range w.mirror.Slots() {
		if !w.mirror.Node(int32(i)).Present {
			continue
		}
		refusal := filter.Refusal{Helpless: true}
		if pod.Shape.Obstacle() == "" {
			refusal = w.mirror.Explain(&ask, int32(i))
		}
		o.diagnosis.Add(refusal)
		o.nodes = append(o.nodes, preempt.Node{Index: int32(i), Refusal: refusal})
	}
	return o
}

// fail looks for pods to take away for one that fits nowhere, and says what is to be said.
func (w *Worker) fail(d *decision, pod *shape.Pod, o *obstruction) {
	_, nominated := w.mirror.Nominated(pod.UID)
	if o.hopeless != "" && !nominated {
		d.failed = append(d.failed, failure{pod.UID, o.hopeless})
		return
	}
	answer := preempt.For(w.mirror.Mirror, pod, o.nodes, time.Now(), w.random.IntN(len(o.nodes)+1))
	message := o.diagnosis.Message(answer.Text)
	d.failed = append(d.failed, failure{pod.UID, message})
	switch {
	case answer.Choice != nil:
		p := plan.Preemption{UID: pod.UID, Node: w.mirror.Node(answer.Node).Name}
		for _, victim := range answer.Victims {
			p.Victims = append(p.Victims, victim.UID)
			w.mirror.Doom(victim.UID)
		}
		w.mirror.Nominate(pod.UID, answer.Node)
		d.preemptions = append(d.preemptions, p)
	case nominated && answer.Hopeless: // there is no node to wait for any more
		d.preemptions = append(d.preemptions, plan.Preemption{UID: pod.UID})
	case !nominated:
		o.hopeless = message
	}
}

func beneficiaries(preemptions []plan.Preemption) []string {
	out := make([]string, len(preemptions))
	for i := range preemptions {
		out[i] = preemptions[i].UID
	}
	return out
}

// spare takes back what was assumed for preemptions that came to nothing, those of the named
// pods, and gives these as a set.
func (w *Worker) spare(preemptions []plan.Preemption, which []string) map[string]bool {
	if len(which) == 0 {
		return nil
	}
	w.mirror.Lock()
	defer w.mirror.Unlock()
	spared := map[string]bool{}
	for _, p := range preemptions {
		if slices.Contains(which, p.UID) {
			spared[p.UID] = true
			w.mirror.Denominate(p.UID)
			for _, victim := range p.Victims {
				w.mirror.Spare(victim)
			}
		}
	}
	return spared
}

// key tells pods apart as far as it matters for their nodes.
func (w *Worker) key(pod *shape.Pod, owner string) setKey {
	key := setKey{shape: pod.Shape, owner: owner}
	if w.mirror.Len() <= few || w.mirror.View(pod) != nil || w.mirror.Loud() {
		key.self = pod.Self
	}
	return key
}

// set finds or makes the candidates for pods of a key; the least used ones go. Of one node
// nothing is worth keeping.
func (w *Worker) set(key setKey, pod *shape.Pod) candidates {
	if len(pod.Shape.Pinned) == 1 {
		return candidate.NewOne(w.mirror.Mirror, pod)
	}
	w.clock++
	k := w.sets[key]
	if k == nil {
		if len(w.sets) >= keep {
			w.evict()
		}
		k = &kept{}
		if seed := w.options.Seed + w.clock; key.self != nil {
			k.set = candidate.NewSweep(w.mirror.Mirror, pod, key.owner, seed)
		} else {
			k.set = candidate.New(w.mirror.Mirror, pod.Shape, key.owner, seed)
		}
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
