// Package controllers runs the cluster's built-in controllers: what makes the world
// follow the objects. README.md lists them; each is a package below internal, with
// its decisions in pure functions.
//
// They come in groups (groups.go). Each group has a leader of its own, so several
// processes can share the work; a process runs those its configuration names. Each has a
// credential of its own as well (client.go): it opens what the group's controllers need.
// The mirrors of the log are the process's and stay warm while it stands by; everything
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
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/leader"
)

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
	chosen := cfg.chosen()
	starting := newWaiting(chosen)
	p.Health.Ready("controllers", starting.why)

	group, ctx := errgroup.WithContext(ctx)
	mirrors := map[*statelog.Views]*mirror.World{} // groups that read with one credential share them
	for _, g := range chosen {
		own := c.Part(proto.ControllersRole(g.Name))
		if mirrors[own.Views] == nil {
			kinds := mirror.NewWorld()
			mirrors[own.Views] = kinds
			group.Go(func() error { return kinds.Run(ctx, own.Views, p.Logger) })
		}
		world := &frame.World{
			Mirrors: mirrors[own.Views], Views: own.Views, Bus: frame.OnBus(own.Bus), API: own.API,
			Settings: settings, Workers: cfg.Workers, Logger: p.Logger,
		}
		term := func(ctx context.Context, fence *message.Fence) error {
			return g.Run(ctx, world, fence, func() { starting.done(g.Name) })
		}
		group.Go(func() error {
			if cfg.LeaderElection {
				starting.done(g.Name) // a standby does its work
			}
			return leader.Run(ctx, leader.Options{
				Name: proto.ControllersFence(g.Name), Instance: cfg.Instance,
				Fences: own.API.As(proto.ControllersLeader(g.Name)), Bus: leader.OnBus(own.Bus), Logger: p.Logger,
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
