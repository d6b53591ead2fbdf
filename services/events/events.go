// Package events tells people's own automation what happens in the cluster: every
// committed change of an object, as a CloudEvent on the bus. README.md shows how to
// listen.
//
// Start with Config and Run.
package events

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/events/internal/change"
	"kubus.dev/services/events/internal/publish"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/leader"
)

// Config is what an operator writes. config.example.yaml says more of each key.
type Config struct {
	kit.Common `yaml:",inline"`

	// Cluster is the cluster's name in subjects and sources.
	Cluster string `yaml:"cluster"`
	// Streams are the state streams that are announced.
	Streams []string `yaml:"streams"`
	// Replicas of stream CHANGES: 1, or 3 on a cluster of NATS servers.
	Replicas int `yaml:"replicas"`
	// LeaderElection: several processes take turns.
	LeaderElection bool `yaml:"leaderElection"`
	// Instance tells this process from others; empty: the host's name.
	Instance string `yaml:"instance"`
}

// Default announces everything.
func Default() Config {
	c := Config{Common: kit.DefaultCommon(), Cluster: "kubus", Replicas: 1, LeaderElection: true}
	for _, s := range proto.StateStreams() {
		c.Streams = append(c.Streams, s.Name)
	}
	return c
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)

// Validate gives all problems at once.
func (c *Config) Validate() error {
	var errs []error
	if !clusterName.MatchString(c.Cluster) {
		errs = append(errs, fmt.Errorf("cluster: %q, want 1 to 63 letters, digits, '-' or '_'", c.Cluster))
	}
	for i, name := range c.Streams {
		if _, ok := stateStream(name); !ok {
			errs = append(errs, fmt.Errorf("streams[%d]: %q keeps no objects", i, name))
		}
	}
	return errors.Join(errs...)
}

func stateStream(name string) (proto.Stream, bool) {
	for _, s := range proto.StateStreams() {
		if s.Name == name {
			return s, true
		}
	}
	return proto.Stream{}, false
}

// Run announces until ctx ends.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	var opening atomic.Bool
	p.Health.Ready("changes", func() error {
		if opening.Load() {
			return errors.New("stream CHANGES has not been reached yet")
		}
		return nil
	})
	announce := func(ctx context.Context, _ *message.Fence) error {
		opening.Store(true)
		return run(ctx, cfg, p.Logger, c, func() { opening.Store(false) })
	}
	var err error
	if cfg.LeaderElection {
		err = leader.Run(ctx, leader.Options{
			Name: "events", Instance: cfg.instance(), Fences: c.API.As(proto.EventsUser), Bus: leader.OnBus(c.Bus), Logger: p.Logger,
		}, announce)
	} else {
		err = announce(ctx, nil)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// run reads every stream from where it was announced to.
func run(ctx context.Context, cfg Config, logger *zap.Logger, c *cluster.Client, opened func()) error {
	if err := c.Bus.KeepStream(ctx, proto.ChangesStream, cfg.Replicas); err != nil {
		return nil // ctx has ended
	}
	publisher, fresh, err := open(ctx, c.Bus, logger)
	if err != nil {
		return nil // ctx has ended
	}
	opened()
	// Nothing announced yet: begin with what the stream of changes would still hold.
	var since time.Time
	if fresh {
		since = time.Now().Add(-proto.ChangesStream.MaxAge)
	}
	cursor := publisher.Cursor()
	group, ctx := errgroup.WithContext(ctx)
	events := make(chan *change.Event, 64) // a burst of one stream, so that acknowledgements are waited for together
	for _, name := range cfg.Streams {
		stream, _ := stateStream(name)
		reader := change.NewReader(cfg.Cluster, name)
		from := cursor[name] + 1
		group.Go(func() error {
			return c.Log.Read(ctx, statelog.Reading{Stream: name, Subjects: []string{stream.Class + ".>"}, From: from}, statelog.Handler{Message: func(m *bus.StreamMsg) {
				e, err := reader.Read(m)
				if err != nil {
					logger.Error("a change cannot be announced", zap.String("subject", m.Subject), zap.Error(err))
				}
				if e == nil || m.Time.Before(since) {
					return
				}
				select {
				case events <- e:
				case <-ctx.Done():
				}
			}})
		})
	}
	group.Go(func() error { return publisher.Run(ctx, events) })
	return group.Wait()
}

// open waits for the bus and its streams.
func open(ctx context.Context, conn *bus.Conn, logger *zap.Logger) (*publish.Publisher, bool, error) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		p, fresh, err := publish.Open(ctx, conn, logger)
		if err == nil {
			return p, fresh, nil
		}
		logger.Info("stream CHANGES is not there yet", zap.Error(err))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (c *Config) instance() string {
	if c.Instance != "" {
		return c.Instance
	}
	name, err := os.Hostname()
	if err != nil {
		return "events"
	}
	return name
}
