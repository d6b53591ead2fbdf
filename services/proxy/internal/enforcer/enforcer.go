// Package enforcer brings a node's kernel to the NetworkPolicies. It is told of objects, and
// its Run does one sync at a time: what package filter finds changed, in one transaction.
//
// Promises: without a policy there is no table. With one, nothing is written before all pods
// and namespaces are known, and until then the table of an earlier run stays; it is replaced
// in one step. After an error all is written anew, with back-off, and State tells of it; so
// it is when somebody else changed the table (Disturbed). The table stays when Run returns.
package enforcer

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/proxy/internal/filter"
	"kubus.dev/services/proxy/internal/loop"
	"kubus.dev/services/proxy/internal/policy"
)

// Kernel is what an Enforcer needs of package nft.
type Kernel interface {
	Replace(ctx context.Context, d *filter.Delta) error
	Apply(ctx context.Context, d *filter.Delta) error
	Remove(ctx context.Context) error
	Count(ctx context.Context) (filter.Count, bool, error)
}

// Options of an Enforcer. Kernel and Logger are required.
type Options struct {
	Node        string
	Kernel      Kernel
	MinInterval time.Duration // between two syncs under constant change
	Logger      *zap.Logger
	Observe     func(Result) // told of each sync; nil is nobody
}

// Result describes one sync.
type Result struct {
	Policies int
	Sets     int           // in the table
	Written  bool          // there was something to write
	Waited   time.Duration // from the first change in it to its start
	Took     time.Duration
	Err      error
}

// errNotYet is an Enforcer's state before it knows what there is.
var errNotYet = errors.New("the policies are not written yet")

// Enforcer is safe for concurrent use.
type Enforcer struct {
	opts Options
	wake chan struct{} // holds one

	mu      sync.Mutex // guards what follows
	table   *filter.Table
	since   time.Time // of the oldest change not yet taken
	state   error
	known   bool          // all policies
	pods    bool          // all pods and namespaces
	look    bool          // somebody else changed the kernel's tables
	turned  chan struct{} // closed when Wanted changes
	whole   bool          // the kernel's table is unknown
	present bool          // there is a table of ours, or may be one
}

// New gives an Enforcer that knows nothing; Run starts it.
func New(opts Options) *Enforcer {
	if opts.Observe == nil {
		opts.Observe = func(Result) {}
	}
	return &Enforcer{opts: opts, wake: make(chan struct{}, 1), table: filter.NewTable(opts.Node),
		state: errNotYet, turned: make(chan struct{}), whole: true, present: true}
}

// SetPolicy tells of a policy; nil when it is gone.
func (e *Enforcer) SetPolicy(name policy.Name, p *policy.Policy) {
	e.change(func(t *filter.Table) { t.SetPolicy(name, p) })
}

// SetPod tells of a pod; nil when it is gone.
func (e *Enforcer) SetPod(name policy.Name, p *policy.Pod) {
	e.change(func(t *filter.Table) { t.SetPod(name, p) })
}

// SetNamespace tells of a namespace's labels; false when it is gone.
func (e *Enforcer) SetNamespace(name string, set labels.Set, there bool) {
	e.change(func(t *filter.Table) { t.SetNamespace(name, set, there) })
}

// SetRanges tells where this node's pods have their addresses.
func (e *Enforcer) SetRanges(ranges []netip.Prefix) {
	e.change(func(t *filter.Table) { t.SetRanges(ranges) })
}

// SetDNS tells where the cluster's DNS answers, where that is no pod's address.
func (e *Enforcer) SetDNS(servers []policy.Server) {
	e.change(func(t *filter.Table) { t.SetDNS(servers) })
}

// PoliciesKnown says that all policies there are have been told.
func (e *Enforcer) PoliciesKnown() { e.change(func(*filter.Table) { e.known = true }) }

// PodsKnown says that all pods and namespaces there are have been told.
func (e *Enforcer) PodsKnown() { e.change(func(*filter.Table) { e.pods = true }) }

// ForgetPods says that pods and namespaces are not told any more, or from the beginning. The
// kernel's table stays until PodsKnown.
func (e *Enforcer) ForgetPods() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pods, e.whole = false, true
	e.table = e.table.WithoutPods()
}

func (e *Enforcer) change(fn func(*filter.Table)) {
	e.mu.Lock()
	wanted := e.table.Wanted()
	fn(e.table)
	if e.since.IsZero() {
		e.since = time.Now()
	}
	if e.table.Wanted() != wanted {
		close(e.turned)
		e.turned = make(chan struct{})
	}
	e.mu.Unlock()
	e.kick()
}

func (e *Enforcer) kick() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// Disturbed says that somebody else changed tables in the kernel.
func (e *Enforcer) Disturbed() {
	e.mu.Lock()
	e.look = true
	e.mu.Unlock()
	e.kick()
}

// Await returns when there is a policy, or none any more, or ctx has ended.
func (e *Enforcer) Await(ctx context.Context, wanted bool) error {
	for {
		e.mu.Lock()
		now, turned := e.table.Wanted(), e.turned
		e.mu.Unlock()
		if now == wanted {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-turned:
		}
	}
}

// State is nil when the kernel holds what the policies say.
func (e *Enforcer) State() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// Run syncs until ctx ends.
func (e *Enforcer) Run(ctx context.Context) error {
	loop.Run(ctx, e.wake, e.opts.MinInterval, e.sync, e.opts.Logger, "NetworkPolicies are not enforced as they stand; trying again")
	return nil
}

// step is what one sync does.
type step struct {
	delta  *filter.Delta
	whole  bool // put it in the place of what there is
	remove bool
	result Result
}

// take decides the next step, and takes its changes as written: when that fails all is
// written anew. It is nil where there is nothing to do yet, or at all.
func (e *Enforcer) take() *step {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.known {
		return nil
	}
	s := &step{result: Result{Policies: e.table.Policies()}}
	if !e.since.IsZero() {
		s.result.Waited = time.Since(e.since)
	}
	switch {
	case !e.table.Wanted():
		e.since, e.whole = time.Time{}, true
		s.remove = e.present
		return s
	case !e.pods:
		e.state = errNotYet
		return nil
	}
	e.since = time.Time{}
	if s.whole = e.whole; s.whole {
		e.table.Forget()
	}
	s.delta = e.table.Delta()
	e.table.Commit()
	e.whole = false
	s.result.Sets = len(e.table.Count().Elements)
	return s
}

func (e *Enforcer) sync(ctx context.Context) error {
	if err := e.inspect(ctx); err != nil {
		return e.finish(step{result: Result{Err: err}})
	}
	s := e.take()
	if s == nil {
		return nil
	}
	start := time.Now()
	switch {
	case s.remove:
		s.result.Err = e.opts.Kernel.Remove(ctx)
	case s.delta == nil || s.delta.Empty() && !s.whole:
		return e.finish(*s)
	case s.whole:
		s.result.Err = e.opts.Kernel.Replace(ctx, s.delta)
	default:
		s.result.Err = e.opts.Kernel.Apply(ctx, s.delta)
	}
	s.result.Written = true
	s.result.Took = time.Since(start)
	return e.finish(*s)
}

func (e *Enforcer) finish(s step) error {
	e.mu.Lock()
	e.state = s.result.Err
	switch {
	case s.result.Err != nil:
		e.whole, e.present = true, true
	case s.remove:
		e.present = false
	case s.delta != nil:
		e.present = true
	}
	e.mu.Unlock()
	e.opts.Observe(s.result)
	return s.result.Err
}

// settleTime lets somebody else's changes come to an end before they are looked at.
const settleTime = 20 * time.Millisecond

// inspect sees whether the kernel still holds as much as was written.
func (e *Enforcer) inspect(ctx context.Context) error {
	e.mu.Lock()
	look := e.look && !e.whole
	e.look = false
	want := e.table.Count()
	e.mu.Unlock()
	if !look || !loop.Sleep(ctx, settleTime) {
		return nil
	}
	count, found, err := e.opts.Kernel.Count(ctx)
	if err != nil {
		return err
	}
	if !found || !count.Equal(want) {
		e.opts.Logger.Warn("somebody changed the table of NetworkPolicies; it is written anew")
		e.mu.Lock()
		e.whole = true
		e.mu.Unlock()
	}
	return nil
}
