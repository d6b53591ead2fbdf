package scheduler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/services/kit"
	"kubus.dev/services/scheduler/internal/api"
	"kubus.dev/services/scheduler/internal/broker"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/report"
	"kubus.dev/services/scheduler/internal/shape"
	"kubus.dev/services/scheduler/internal/wire"
	"kubus.dev/services/scheduler/internal/worker"
)

// service is the wiring of the roles that this process plays. Roles of the same
// process call each other; those of others are reached over the bus.
type service struct {
	cfg      Config
	log      *zap.Logger
	client   *cluster.Client
	reporter *report.Reporter
	broker   *broker.Broker
	planner  *planner.Planner
	workers  []*worker.Worker
	feed     *feed.Feed
	fence    atomic.Pointer[message.Fence]
	bound    prometheus.Counter
}

func newService(cfg Config, p *kit.Process, c *cluster.Client) *service {
	s := &service{cfg: cfg, log: p.Logger, client: c}
	user := c.API.As(proto.SchedulerUser)
	s.reporter = report.New(api.NewWriter(user, p.Logger), report.Options{Name: cfg.SchedulerName, Busy: s.busy, Logger: p.Logger})
	remote := wire.NewRemote(c.Bus)
	var queue plan.Queue = remote
	var applier plan.Applier = remote
	var sinks []feed.Sink
	if cfg.plays(RolePlanner) {
		s.planner = planner.New(api.NewBinder(user, s.fence.Load), planner.Options{InFlight: cfg.InFlight, Bound: s.onBound, Logger: p.Logger})
		applier = s.planner
		sinks = append(sinks, s.planner.Feed())
	}
	if cfg.plays(RoleBroker) {
		s.broker = broker.New(broker.Options{SchedulerNames: []string{cfg.SchedulerName}, Unschedulable: s.reporter.Unschedulable, Logger: p.Logger})
		queue = s.broker
	}
	if cfg.plays(RoleWorker) {
		for i := range cfg.Workers {
			w := worker.New(queue, applier, worker.Options{Name: fmt.Sprintf("%s-%d", hostname(), i), InFlight: cfg.InFlight, Seed: rand.Uint64(), Logger: p.Logger})
			s.workers = append(s.workers, w)
			sinks = append(sinks, w)
		}
	}
	if s.broker != nil {
		sinks = append(sinks, s.broker) // last: the others have seen what it hands out
	}
	view := c.Views.For(proto.GroupResource{Resource: "pods"})
	s.feed = feed.New(view, p.Logger, sinks...)
	p.Health.Ready("state-log", func() error {
		if !view.IsReady() {
			return errors.New("the state log is still being read")
		}
		return nil
	})
	s.measure(p.Metrics)
	return s
}

func (s *service) busy() bool { return s.planner != nil && s.planner.Busy() }

func (s *service) onBound(pod *shape.Pod, node string) {
	s.bound.Inc()
	s.reporter.Scheduled(pod, node)
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "scheduler"
	}
	return name
}

// start runs everything in the group.
func (s *service) start(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { return s.feed.Run(ctx) })
	group.Go(func() error { return s.reporter.Run(ctx) })
	for _, w := range s.workers {
		group.Go(func() error { return w.Run(ctx) })
	}
	if s.planner != nil {
		group.Go(func() error { return s.planner.Run(ctx) })
	}
	// A process that plays every role needs nobody on the bus.
	alone := s.broker != nil && s.planner != nil && len(s.workers) > 0
	if s.broker != nil && !alone {
		group.Go(func() error { return wire.ServeBroker(ctx, s.client.Bus, s.broker, s.log) })
	}
	if s.planner != nil && !alone {
		group.Go(func() error { return wire.ServePlanner(ctx, s.client.Bus, s.planner, s.log) })
	}
}

func (s *service) measure(r prometheus.Registerer) {
	s.bound = prometheus.NewCounter(prometheus.CounterOpts{Name: "kubus_scheduler_bound_pods_total", Help: "Pods bound by this process's planner."})
	if r == nil {
		return
	}
	collectors := []prometheus.Collector{s.bound}
	if s.broker != nil {
		collectors = append(collectors,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubus_scheduler_pending_pods", Help: "Pods that wait for a node."},
				func() float64 { return float64(s.broker.Counts().Waiting) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubus_scheduler_unschedulable_pods", Help: "Of these, pods that fit on no node."},
				func() float64 { return float64(s.broker.Counts().Parked) }))
	}
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			s.log.Warn("registering a metric", zap.Error(err))
		}
	}
}
