package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/leader"
	"kubus.dev/services/scheduler/internal/api"
	"kubus.dev/services/scheduler/internal/broker"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/profile"
	"kubus.dev/services/scheduler/internal/report"
	"kubus.dev/services/scheduler/internal/shape"
	"kubus.dev/services/scheduler/internal/wire"
	"kubus.dev/services/scheduler/internal/worker"
)

// service is the wiring of the roles that this process plays. Without leader
// election all roles are here and call each other. With it, broker and planner run
// while this process leads, and workers reach whoever leads over the bus.
type service struct {
	cfg      Config
	profiles profile.Set
	log      *zap.Logger
	client   *cluster.Client
	view     *statelog.View
	reporter *report.Reporter
	planner  atomic.Pointer[planner.Planner]
	broker   atomic.Pointer[broker.Broker]
	bound    prometheus.Counter

	preempted prometheus.Counter
}

func newService(cfg Config, profiles profile.Set, p *kit.Process, c *cluster.Client) *service {
	s := &service{cfg: cfg, profiles: profiles, log: p.Logger, client: c, view: c.Views.For(proto.GroupResource{Resource: "pods"})}
	s.reporter = report.New(api.NewWriter(c.API.As(proto.SchedulerUser), p.Logger), report.Options{Busy: s.busy, Logger: p.Logger})
	p.Health.Ready("state-log", func() error {
		if !s.view.IsReady() {
			return errors.New("the state log is still being read")
		}
		return nil
	})
	s.measure(p.Metrics)
	return s
}

// run plays the roles until ctx ends.
func (s *service) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.reporter.Run(ctx) })
	if !s.cfg.LeaderElection && s.cfg.plays(RoleBroker) && s.cfg.plays(RolePlanner) && s.cfg.plays(RoleWorker) {
		group.Go(func() error { return s.alone(ctx) })
		return group.Wait()
	}
	if s.cfg.plays(RoleWorker) {
		remote, stop, err := wire.NewRemote(s.client.Bus)
		if err != nil {
			return err
		}
		defer stop()
		group.Go(func() error { return s.work(ctx, remote, remote) })
	}
	for role, lead := range map[string]func(context.Context, *message.Fence) error{RoleBroker: s.leadBroker, RolePlanner: s.leadPlanner} {
		if s.cfg.plays(role) {
			group.Go(func() error { return s.takeTurns(ctx, role, lead) })
		}
	}
	return group.Wait()
}

// alone runs all roles without anybody on the bus.
func (s *service) alone(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	p, b := s.newPlanner(nil), s.newBroker()
	sinks := []feed.Sink{p.Feed()}
	for _, w := range s.newWorkers(b, p) {
		sinks = append(sinks, w)
		group.Go(func() error { return w.Run(ctx) })
	}
	sinks = append(sinks, b) // last: the others have seen what it hands out
	group.Go(func() error { return p.Run(ctx) })
	group.Go(func() error { return feed.New(s.view, s.log, s.profiles.Profiles, sinks...).Run(ctx) })
	return group.Wait()
}

// takeTurns runs lead, at once without leader election.
func (s *service) takeTurns(ctx context.Context, role string, lead func(context.Context, *message.Fence) error) error {
	if !s.cfg.LeaderElection {
		return lead(ctx, nil)
	}
	return leader.Run(ctx, leader.Options{
		Name: "scheduler-" + role, Instance: s.cfg.instance(), Fences: s.client.API.As(proto.SchedulerUser),
		Bus: leader.OnBus(s.client.Bus), Logger: s.log,
	}, lead)
}

func (s *service) leadBroker(ctx context.Context, _ *message.Fence) error {
	group, ctx := errgroup.WithContext(ctx)
	b := s.newBroker()
	group.Go(func() error { return feed.New(s.view, s.log, s.profiles.Profiles, b).Run(ctx) })
	group.Go(func() error { return wire.ServeBroker(ctx, s.client.Bus, b, s.log) })
	return group.Wait()
}

func (s *service) leadPlanner(ctx context.Context, fence *message.Fence) error {
	group, ctx := errgroup.WithContext(ctx)
	p := s.newPlanner(fence)
	group.Go(func() error { return p.Run(ctx) })
	group.Go(func() error { return feed.New(s.view, s.log, s.profiles.Profiles, p.Feed()).Run(ctx) })
	group.Go(func() error { return wire.ServePlanner(ctx, s.client.Bus, p, s.log) })
	return group.Wait()
}

func (s *service) work(ctx context.Context, q plan.Queue, a plan.Applier) error {
	group, ctx := errgroup.WithContext(ctx)
	var sinks []feed.Sink
	for _, w := range s.newWorkers(q, a) {
		sinks = append(sinks, w)
		group.Go(func() error { return w.Run(ctx) })
	}
	group.Go(func() error { return feed.New(s.view, s.log, s.profiles.Profiles, sinks...).Run(ctx) })
	return group.Wait()
}

func (s *service) newWorkers(q plan.Queue, a plan.Applier) []*worker.Worker {
	workers := make([]*worker.Worker, s.cfg.Workers)
	for i := range workers {
		workers[i] = worker.New(q, a, worker.Options{Name: fmt.Sprintf("%s-%d", s.cfg.instance(), i), InFlight: s.cfg.InFlight, Seed: rand.Uint64(), Logger: s.log})
	}
	return workers
}

func (s *service) newPlanner(fence *message.Fence) *planner.Planner {
	p := planner.New(api.NewBinder(s.client.API.As(proto.SchedulerUser), fence), planner.Options{InFlight: s.cfg.InFlight, Bound: s.onBound, Preempted: s.onPreempted, Logger: s.log})
	s.planner.Store(p)
	return p
}

func (s *service) newBroker() *broker.Broker {
	b := broker.New(broker.Options{SchedulerNames: s.profiles.Names(), Backoff: s.profiles.Backoff, MostBackoff: s.profiles.MostBackoff, Unschedulable: s.reporter.Unschedulable, Logger: s.log})
	s.broker.Store(b)
	return b
}

func (s *service) busy() bool {
	p := s.planner.Load()
	return p != nil && p.Busy()
}

func (s *service) onBound(pod *shape.Pod, node string) {
	s.bound.Inc()
	s.reporter.Scheduled(pod, node)
}

func (s *service) onPreempted(victim, by *shape.Pod, node string) {
	s.preempted.Inc()
	s.reporter.Preempted(victim, by, node)
}

func (s *service) measure(r prometheus.Registerer) {
	s.bound = prometheus.NewCounter(prometheus.CounterOpts{Name: "kubus_scheduler_bound_pods_total", Help: "Pods bound by this process's planner."})
	s.preempted = prometheus.NewCounter(prometheus.CounterOpts{Name: "kubus_scheduler_preempted_pods_total", Help: "Pods deleted by this process's planner to make room."})
	if r == nil {
		return
	}
	counts := func(of func(broker.Counts) int) func() float64 {
		return func() float64 {
			if b := s.broker.Load(); b != nil {
				return float64(of(b.Counts()))
			}
			return 0
		}
	}
	for _, c := range []prometheus.Collector{
		s.bound, s.preempted,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubus_scheduler_pending_pods", Help: "Pods that wait for a node."},
			counts(func(c broker.Counts) int { return c.Waiting })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubus_scheduler_unschedulable_pods", Help: "Of these, pods that fit on no node."},
			counts(func(c broker.Counts) int { return c.Parked })),
	} {
		if err := r.Register(c); err != nil {
			s.log.Warn("registering a metric", zap.Error(err))
		}
	}
}
