// Package controllers runs the cluster's built-in controllers: what makes the world
// follow the objects. README.md lists them; each is a package below internal, with
// its decisions in pure functions.
//
// Run is the whole of it. Everything is built anew for each term of leadership, so
// nothing that was believed in an earlier term survives into the next.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/account"
	"kubus.dev/services/controllers/internal/deployment"
	"kubus.dev/services/controllers/internal/endpoint"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/garbage"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/namespace"
	"kubus.dev/services/controllers/internal/node"
	"kubus.dev/services/controllers/internal/podgc"
	"kubus.dev/services/controllers/internal/replicaset"
	"kubus.dev/services/controllers/internal/write"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/leader"
)

// Fence is the name under which one instance at a time runs.
const Fence = "controllers"

// Identity is the user a client of this service speaks as at first.
var Identity = proto.ControllerUser("generic-garbage-collector")

// Run runs the controllers until ctx ends.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	bundle, err := rootCA(cfg.RootCAFile)
	if err != nil {
		return err
	}
	var ready atomic.Pointer[string]
	starting := "waiting to lead or for the views"
	ready.Store(&starting)
	p.Health.Ready("controllers", func() error {
		if why := ready.Load(); why != nil {
			return errors.New(*why)
		}
		return nil
	})
	term := func(ctx context.Context, fence *message.Fence) error {
		return serve(ctx, cfg, bundle, fence, p.Logger, c, func() { ready.Store(nil) })
	}
	if !cfg.LeaderElection {
		return term(ctx, nil)
	}
	ready.Store(nil) // a standby does its work
	return leader.Run(ctx, leader.Options{
		Name: Fence, Instance: cfg.Instance, Fences: c.API.As(Identity), Bus: leader.OnBus(c.Bus), Logger: p.Logger,
	}, term)
}

func rootCA(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading rootCAFile: %w", err)
	}
	return string(data), nil
}

// term is the controllers during one term of leadership.
type term struct {
	group  *errgroup.Group
	ctx    context.Context
	client *cluster.Client
	fence  *message.Fence
	logger *zap.Logger
	starts []func(ctx context.Context) error // once the mirrors are filled
}

func serve(ctx context.Context, cfg Config, bundle string, fence *message.Fence, logger *zap.Logger, c *cluster.Client, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	t := &term{group: group, ctx: ctx, client: c, fence: fence, logger: logger}
	world := mirror.NewWorld()
	state := c.Views.Stream(proto.StateStream)
	leases := mirror.New[coordinationv1.Lease](mirror.LeaseResource)
	all := feed.New(state, t.writer("generic-garbage-collector").Read, logger)

	t.workloads(world, cfg.Workers)
	t.endpoints(world, cfg.Workers)
	t.housekeeping(world, all, state, bundle, cfg)
	if err := t.nodes(world, leases, cfg); err != nil {
		return err
	}

	group.Go(func() error { return world.Run(ctx, c.Views) })
	group.Go(func() error { return leases.Run(ctx, c.Views.For(mirror.LeaseResource)) })
	group.Go(func() error { return all.Run(ctx) })
	if err := world.Ready(ctx); err == nil {
		logger.Info("controllers are running")
		ready()
		for _, start := range t.starts {
			group.Go(func() error { return start(ctx) })
		}
	}
	return group.Wait()
}

// writer writes as one controller, under the term's fence.
func (t *term) writer(controller string) *write.Client {
	return write.New(t.client.API.As(proto.ControllerUser(controller)), func() *message.Fence { return t.fence })
}

// recorder records as one controller; component is what the events show.
func (t *term) recorder(component string, writer *write.Client) *event.Recorder {
	r := event.NewRecorder(component, writer, t.logger)
	t.group.Go(func() error { return r.Run(t.ctx) })
	return r
}

func (t *term) named(name string) *zap.Logger { return t.logger.With(zap.String("controller", name)) }

func (t *term) start(run func(ctx context.Context) error) { t.starts = append(t.starts, run) }

func (t *term) workloads(world *mirror.World, workers int) {
	writer := t.writer("deployment-controller")
	deployments := deployment.New(world, writer, t.recorder("deployment-controller", writer), t.named("deployment"))
	t.start(func(ctx context.Context) error { return deployments.Run(ctx, workers) })

	writer = t.writer("replicaset-controller")
	sets := replicaset.New(world, writer, t.recorder("replicaset-controller", writer), t.named("replicaset"))
	t.start(func(ctx context.Context) error { return sets.Run(ctx, workers) })
}

func (t *term) endpoints(world *mirror.World, workers int) {
	writer := t.writer("endpointslice-controller")
	slices := endpoint.NewSlices(world, writer, t.recorder("endpoint-slice-controller", writer), t.named("endpointslice"))
	t.start(func(ctx context.Context) error { return slices.Run(ctx, workers) })

	writer = t.writer("endpoint-controller")
	legacy := endpoint.NewLegacy(world, writer, t.recorder("endpoint-controller", writer), t.named("endpoints"))
	t.start(func(ctx context.Context) error { return legacy.Run(ctx, workers) })

	writer = t.writer("endpointslicemirroring-controller")
	mirrored := endpoint.NewMirrored(world, writer, t.recorder("endpoint-slice-mirroring-controller", writer), t.named("endpointslicemirroring"))
	t.start(func(ctx context.Context) error { return mirrored.Run(ctx, workers) })
}

func (t *term) housekeeping(world *mirror.World, all *feed.Feed, state *statelog.View, bundle string, cfg Config) {
	workers := cfg.Workers
	namespaces := namespace.New(world, all, t.writer("namespace-controller"), t.named("namespace"))
	t.start(func(ctx context.Context) error { return namespaces.Run(ctx, workers) })

	writer := t.writer("generic-garbage-collector")
	collector := garbage.New(all, writer, t.recorder("garbage-collector-controller", writer), t.named("garbagecollector"))
	t.start(func(ctx context.Context) error { return collector.Run(ctx, workers) })

	pods := podgc.New(world, t.writer("pod-garbage-collector"), t.named("podgc"), cfg.TerminatedPodThreshold)
	t.start(func(ctx context.Context) error { return pods.Run(ctx, workers) })

	accounts := account.NewDefault(world, state, t.writer("service-account-controller"), t.named("serviceaccount"))
	t.start(func(ctx context.Context) error { return accounts.Run(ctx, 1) })
	if bundle != "" {
		publisher := account.NewRootCA(world, state, bundle, t.writer("root-ca-cert-publisher"), t.named("rootca"))
		t.start(func(ctx context.Context) error { return publisher.Run(ctx, 1) })
	}
}

func (t *term) nodes(world *mirror.World, leases *mirror.Kind[coordinationv1.Lease], cfg Config) error {
	writer := t.writer("node-controller")
	events := t.recorder("node-controller", writer)
	lifecycle := node.NewLifecycle(world, leases, writer, events, t.named("node-lifecycle"), cfg.NodeGracePeriod.Std(), cfg.NodeStartGracePeriod.Std())
	beats, err := t.client.Bus.Subscribe(proto.HeartbeatSubjects, "", func(m *bus.Msg) {
		if name, err := proto.HeartbeatNode(m.Subject); err == nil {
			lifecycle.Beat(name)
		}
	})
	if err != nil {
		return err
	}
	context.AfterFunc(t.ctx, beats.Stop)
	t.client.Bus.OnReconnect(func() {
		if t.ctx.Err() == nil {
			lifecycle.GraceAll()
		}
	})
	t.start(func(ctx context.Context) error { return lifecycle.Run(ctx, cfg.Workers) })

	whole, err := netip.ParsePrefix(cfg.PodCIDR)
	if err != nil {
		return fmt.Errorf("podCIDR: %w", err)
	}
	addresses := node.NewAddresses(world, writer, events, t.named("node-ipam"), whole, cfg.NodeMaskSize)
	t.start(addresses.Run)

	eviction := node.NewEviction(world, writer, t.recorder("taint-eviction-controller", writer), t.named("taint-eviction"))
	t.start(func(ctx context.Context) error { return eviction.Run(ctx, cfg.Workers) })
	return nil
}
