// Package syncer brings the kernel to what the Services ask for. It is told of
// objects (SetService, SetSlice, SetNode), and its Run does one sync at a time: the rules
// of the Services that changed, one iptables-restore, then the UDP flows and
// health-check ports that follow from it.
//
// A change is written at once when nothing was written just before, else after
// Options.MinInterval. Without changes nothing runs. After an error all is
// written anew, with back-off, from what the kernel then holds; so it is when
// somebody else's change (Disturbed) took a rule of ours away.
package syncer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/proxy/internal/conntrack"
	"kubus.dev/services/proxy/internal/health"
	"kubus.dev/services/proxy/internal/iptables"
	"kubus.dev/services/proxy/internal/loop"
	"kubus.dev/services/proxy/internal/rule"
	"kubus.dev/services/proxy/internal/service"
)

// Kernel is what a Syncer needs of iptables.
type Kernel interface {
	Read(ctx context.Context, prefix string) (map[rule.Table]iptables.State, error)
	Restore(ctx context.Context, input []byte) error
}

// Options of a Syncer. Logger and Kernel are required.
type Options struct {
	Node        string
	Rules       rule.Options
	Guard       func() *service.Guard // made anew for each sync; nil: a zero one
	MinInterval time.Duration         // between two syncs under constant change
	Kernel      Kernel
	// Clean forgets UDP flows; nil leaves them.
	Clean  func(conntrack.Frontends) (int, error)
	Health *health.Server // nil: no health-check ports
	Logger *zap.Logger
	// Observe is told of each sync; nil is nobody.
	Observe func(Result)
}

// Result describes one sync.
type Result struct {
	Services int           // looked at
	Chains   int           // written or removed
	Bytes    int           // of restore input; 0: nothing to do
	Refused  int           // addresses of all Services that they may not have
	Waited   time.Duration // from the first change in it to its start
	Took     time.Duration
	Err      error
}

// Syncer is safe for concurrent use.
type Syncer struct {
	opts Options
	wake chan struct{} // holds one

	mu    sync.Mutex // guards what follows
	table *service.Table
	since time.Time // of the oldest change not yet taken
	state error     // of the last sync; errNotYet before the first
	look  bool      // somebody else changed rules: see whether ours are there

	// Only Run touches these.
	set *rule.Set // nil: the kernel's state is unknown
	udp map[service.Name]conntrack.Frontends

	refused map[service.Name][]service.Refusal
}

// errNotYet is a Syncer's state before its first sync.
var errNotYet = fmt.Errorf("the rules of Services are not written yet")

// New gives a Syncer that knows nothing; Run starts it.
func New(opts Options) *Syncer {
	if opts.Observe == nil {
		opts.Observe = func(Result) {}
	}
	if opts.Guard == nil {
		opts.Guard = func() *service.Guard { return &service.Guard{} }
	}
	return &Syncer{
		opts: opts, wake: make(chan struct{}, 1), table: service.NewTable(),
		state: errNotYet, udp: map[service.Name]conntrack.Frontends{}, refused: map[service.Name][]service.Refusal{},
	}
}

// SetService tells of a Service; nil when it is gone.
func (s *Syncer) SetService(name service.Name, obj *service.Service) {
	s.change(func(t *service.Table) bool { return t.SetService(name, obj) })
}

// SetSlice tells of an EndpointSlice; nil when it is gone.
func (s *Syncer) SetSlice(name service.Name, obj *service.Slice) {
	s.change(func(t *service.Table) bool { return t.SetSlice(name, obj) })
}

// SetNode tells which addresses a node has; none when it is gone.
func (s *Syncer) SetNode(name string, addrs []netip.Addr) {
	s.change(func(t *service.Table) bool { return t.SetNode(name, addrs) })
}

// Recheck says that addresses may be others' now: what Services may have is judged anew.
// Where none has addresses of its owner's choice, nothing is done.
func (s *Syncer) Recheck() { s.change((*service.Table).Recheck) }

func (s *Syncer) change(fn func(*service.Table) bool) {
	s.mu.Lock()
	changed := fn(s.table)
	if changed && s.since.IsZero() {
		s.since = time.Now()
	}
	s.mu.Unlock()
	if changed {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// State is nil when the last sync succeeded.
func (s *Syncer) State() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Disturbed says that somebody else changed rules in the kernel.
func (s *Syncer) Disturbed() {
	s.mu.Lock()
	s.look = true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Pending tells whether a change waits to be written.
func (s *Syncer) Pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.Dirty()
}

// Run syncs until ctx ends; the first time at once. Call it when all objects
// there are have been told, lest rules of a previous run be taken away. The
// rules stay when it returns.
func (s *Syncer) Run(ctx context.Context) error {
	loop.Run(ctx, s.wake, s.opts.MinInterval, s.sync, s.opts.Logger, "Services are not up to date; trying again")
	return nil
}

// work is what one sync takes from the table.
type work struct {
	since   time.Time
	ports   map[service.Name][]service.Port
	checks  map[uint16]health.Check
	initial bool
}

func (s *Syncer) take(all bool) work {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := work{since: s.since, initial: all, ports: map[service.Name][]service.Port{}, checks: map[uint16]health.Check{}}
	s.since = time.Time{}
	names := s.table.TakeDirty()
	if all {
		names = append(names, s.table.Names()...)
	}
	guard := s.opts.Guard()
	for _, name := range names {
		w.ports[name] = s.table.Ports(name, s.opts.Node, guard)
	}
	for _, name := range s.table.HealthChecked() {
		w.checks[s.table.Service(name).HealthCheckNodePort] = health.Check{
			Service: name, Endpoints: s.table.LocalReady(name, s.opts.Node),
		}
	}
	return w
}

func (s *Syncer) sync(ctx context.Context) error {
	if err := s.inspect(ctx); err != nil {
		return err
	}
	start := time.Now()
	var hooks []rule.Hook
	fresh := s.set == nil
	if fresh {
		var err error
		if hooks, err = s.begin(ctx); err != nil {
			s.finish(Result{Took: time.Since(start), Err: err})
			return err
		}
	}
	w := s.take(fresh)
	result := Result{Services: len(w.ports), Refused: s.tellRefused(w)}
	if !w.since.IsZero() {
		result.Waited = start.Sub(w.since)
	}
	for name, ports := range w.ports {
		s.set.Put(name, ports)
	}
	input, chains := s.set.Delta(hooks)
	result.Chains, result.Bytes = chains, len(input)
	if len(input) > 0 {
		if err := s.opts.Kernel.Restore(ctx, input); err != nil {
			s.set = nil // what was taken must be told again
			result.Took, result.Err = time.Since(start), err
			s.finish(result)
			return err
		}
	}
	s.set.Commit()
	result.Took = time.Since(start)
	s.forgetFlows(w)
	if s.opts.Health != nil {
		if err := s.opts.Health.Set(ctx, w.checks); err != nil {
			s.opts.Logger.Warn("a health check port is not served", zap.Error(err))
		}
	}
	s.finish(result)
	return nil
}

// tellRefused says which addresses were refused anew, and counts all that are.
func (s *Syncer) tellRefused(w work) int {
	for name, ports := range w.ports {
		var now []service.Refusal
		for i := range ports {
			for _, r := range ports[i].Refused {
				now = append(now, r)
				if !slices.Contains(s.refused[name], r) {
					s.opts.Logger.Warn("a Service may not have this address", zap.String("namespace", name.Namespace), zap.String("name", name.Name),
						zap.Stringer("address", r.At), zap.String("reason", r.Reason))
				}
			}
		}
		if s.refused[name] = now; now == nil {
			delete(s.refused, name)
		}
	}
	all := 0
	for _, list := range s.refused {
		all += len(list)
	}
	return all
}

func (s *Syncer) finish(r Result) {
	s.mu.Lock()
	s.state = r.Err
	s.mu.Unlock()
	s.opts.Observe(r)
}

// settleTime lets somebody else's changes come to an end before they are looked at.
const settleTime = 20 * time.Millisecond

// inspect gives up the set when the kernel no longer holds what was written to
// it, or somebody's rules have come to stand before ours.
func (s *Syncer) inspect(ctx context.Context) error {
	s.mu.Lock()
	look := s.look && s.set != nil
	s.look = false
	s.mu.Unlock()
	if !look || !loop.Sleep(ctx, settleTime) {
		return nil
	}
	states, err := s.opts.Kernel.Read(ctx, s.opts.Rules.Prefix)
	if err != nil {
		return fmt.Errorf("reading the rules there are: %w", err)
	}
	intact := len(s.missing(states)) == 0
	for table, state := range states {
		intact = intact && s.set.Intact(table, state.Chains, state.Count)
	}
	if !intact {
		s.opts.Logger.Info("somebody changed the rules of Services; they are written anew")
		s.set = nil
	}
	return nil
}

// missing gives the hooks that are not there, or not first.
func (s *Syncer) missing(states map[rule.Table]iptables.State) []rule.Hook {
	var missing []rule.Hook
	for _, h := range s.opts.Rules.Hooks() {
		if state := states[h.Table]; !state.First(h.Rule()) {
			h.Moved = state.Has(h.Rule())
			missing = append(missing, h)
		}
	}
	return missing
}

// begin reads what an earlier run left and makes the set that replaces it.
func (s *Syncer) begin(ctx context.Context) ([]rule.Hook, error) {
	states, err := s.opts.Kernel.Read(ctx, s.opts.Rules.Prefix)
	if err != nil {
		return nil, fmt.Errorf("reading the rules there are: %w", err)
	}
	existing := map[rule.Table][]string{}
	for table, state := range states {
		existing[table] = state.Chains
	}
	s.set = rule.NewSet(s.opts.Rules, existing)
	return s.missing(states), nil
}

// forgetFlows removes UDP flows to endpoints that are gone, and, at the first
// sync, those that an earlier run left.
func (s *Syncer) forgetFlows(w work) {
	if s.opts.Clean == nil {
		return
	}
	check := conntrack.Frontends{}
	for name, ports := range w.ports {
		now := conntrack.Of(ports)
		before := s.udp[name]
		if len(now) == 0 {
			delete(s.udp, name)
		} else {
			s.udp[name] = now
		}
		check.Changed(before, now, w.initial)
	}
	n, err := s.opts.Clean(check)
	if err != nil {
		s.opts.Logger.Warn("stale UDP flows may remain", zap.Error(err))
	}
	if n > 0 {
		s.opts.Logger.Debug("stale UDP flows forgotten", zap.Int("flows", n))
	}
}
