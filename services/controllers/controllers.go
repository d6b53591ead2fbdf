// Package controllers runs the cluster's built-in controllers: what makes the world
// follow the objects. README.md lists them; each is a package below internal, with
// its decisions in pure functions.
//
// They come in groups (groups.go). Each group has a leader of its own, so several
// processes can share the work; a process runs those its configuration names. The
// mirrors of the log are the process's and stay warm while it stands by; everything
// else is built anew for each term, so nothing that was believed in an earlier term
// survives into the next.
package controllers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/leader"
)

// Identity is the user a client of this service speaks as at first, and for which
// groups take their fences.
var Identity = proto.ControllerUser("generic-garbage-collector")

// Run runs the configured controllers until ctx ends.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	settings, err := cfg.settings()
	if err != nil {
		return err
	}
	for _, metric := range append(queue.Metrics(), mirror.Metrics()...) {
		if err := p.Metrics.Register(metric); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	world := &frame.World{
		Mirrors: mirror.NewWorld(), Views: c.Views, Bus: frame.OnBus(c.Bus), API: c.API,
		Settings: settings, Workers: cfg.Workers, Logger: p.Logger,
	}
	chosen := cfg.chosen()
	starting := newWaiting(chosen)
	p.Health.Ready("controllers", starting.why)

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return world.Mirrors.Run(ctx, c.Views, p.Logger) })
	for _, g := range chosen {
		term := func(ctx context.Context, fence *message.Fence) error {
			return g.Run(ctx, world, fence, func() { starting.done(g.Name) })
		}
		group.Go(func() error {
			if cfg.LeaderElection {
				starting.done(g.Name) // a standby does its work
			}
			return leader.Run(ctx, leader.Options{
				Name: proto.ControllersFence(g.Name), Instance: cfg.Instance,
				Fences: c.API.As(Identity), Bus: leader.OnBus(c.Bus), Logger: p.Logger,
				Alone: !cfg.LeaderElection,
			}, term)
		})
	}
	return group.Wait()
}

// waiting knows which groups do not work yet.
type waiting struct {
	mu     sync.Mutex
	groups map[string]bool
}

func newWaiting(groups []frame.Group) *waiting {
	w := &waiting{groups: map[string]bool{}}
	for _, g := range groups {
		w.groups[g.Name] = true
	}
	return w
}

func (w *waiting) done(group string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.groups, group)
}

func (w *waiting) why() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for group := range w.groups {
		return fmt.Errorf("the group %s waits for the views", group)
	}
	return nil
}

func read(path, what string) (string, error) {
	if path == "" {
		return "", nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", what, err)
	}
	return string(data), nil
}
