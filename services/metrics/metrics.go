// Package metrics serves the API group metrics.k8s.io: what nodes and pods use of CPU and
// memory, for kubectl top and the autoscaler. README.md has the picture.
//
// Start with Config and Run. Any number of instances work side by side; each keeps the last
// readings of every node, in memory.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	protobuf "google.golang.org/protobuf/proto"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/services/kit"
	"kubus.dev/services/metrics/internal/object"
	"kubus.dev/services/metrics/internal/pulse"
	"kubus.dev/services/metrics/internal/sample"
	"kubus.dev/services/metrics/internal/serve"
)

// Config is what an operator writes. config.example.yaml says more of each key.
type Config struct {
	kit.Common `yaml:",inline"`

	// Period is how often nodes are asked while nobody reads, ActivePeriod while somebody does.
	Period       kit.Duration `yaml:"period"`
	ActivePeriod kit.Duration `yaml:"activePeriod"`
	// Linger is how long after the last read somebody still does.
	Linger kit.Duration `yaml:"linger"`
}

// Default asks as often as metrics servers do elsewhere, and fast while it matters.
func Default() Config {
	return Config{
		Common: kit.DefaultCommon(), Period: kit.Duration(15 * time.Second), ActivePeriod: kit.Duration(2 * time.Second), Linger: kit.Duration(time.Minute),
	}
}

// shortest is how long an agent's reading stands.
const shortest = time.Second

// Validate gives all problems at once.
func (c *Config) Validate() error {
	var problems []error
	if c.ActivePeriod.Std() < shortest {
		problems = append(problems, fmt.Errorf("activePeriod: %s, at least %s", c.ActivePeriod.Std(), shortest))
	}
	if c.Period < c.ActivePeriod {
		problems = append(problems, fmt.Errorf("period: %s is shorter than activePeriod", c.Period.Std()))
	}
	if c.Linger < 0 {
		problems = append(problems, fmt.Errorf("linger: %s is negative", c.Linger.Std()))
	}
	return errors.Join(problems...)
}

// Reads gives the resources the service reads from the log.
func Reads() []proto.GroupResource { return []proto.GroupResource{object.Pods, object.Nodes} }

// settle is how long a round waits for nodes that answered the one before, until those
// who act on samples are told all the same.
const settle = 300 * time.Millisecond

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	s := &service{bus: c.Bus, log: p.Logger, samples: sample.New(), objects: object.New(p.Logger), complete: make(chan struct{}, 1)}
	s.pulse = pulse.New(pulse.Periods{Slow: cfg.Period.Std(), Fast: cfg.ActivePeriod.Std(), Linger: cfg.Linger.Std()}, func() { s.round(ctx) })
	p.Health.Ready("objects", func() error {
		if !s.objects.Complete() {
			return errors.New("the cluster's objects are not all read yet")
		}
		return nil
	})
	if err := s.run(ctx, c); ctx.Err() == nil {
		return err
	}
	return nil
}

// service is the parts, wired.
type service struct {
	bus      *bus.Conn
	log      *zap.Logger
	samples  *sample.Store
	objects  *object.Catalog
	pulse    *pulse.Pulse
	complete chan struct{} // all have answered that are waited for
}

func (s *service) run(ctx context.Context, c *cluster.Client) error {
	told, err := s.bus.Subscribe(proto.UsageSubjects, "", s.take)
	if err != nil {
		return err
	}
	defer told.Stop()
	asked, err := apiclient.Answer(ctx, s.bus, proto.MetricsRequestSubject, proto.MetricsQueue, serve.New(s.objects, s.samples, s.pulse.Read))
	if err != nil {
		return err
	}
	defer asked.Stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.objects.Run(ctx, c.Views) })
	group.Go(func() error { return s.pulse.Run(ctx) })
	return group.Wait()
}

// round asks every node, and says so when their answers are there.
func (s *service) round(ctx context.Context) {
	select {
	case <-s.complete: // of the round before, too late
	default:
	}
	s.samples.Begin()
	if err := s.bus.Publish(proto.UsageSampleSubject, nil); err != nil {
		s.log.Debug("nodes not asked", zap.Error(err))
		return
	}
	t := time.NewTimer(settle)
	defer t.Stop()
	select {
	case <-s.complete:
	case <-t.C:
	case <-ctx.Done():
		return
	}
	if err := s.bus.Publish(proto.UsageFreshSubject, nil); err != nil {
		s.log.Debug("fresh samples not announced", zap.Error(err))
	}
}

// mostBytes is the largest message that a node's usage may be: thousands of containers.
const mostBytes = 1 << 20

// take hears what a node says. Its subject, which its key pins, tells which.
func (s *service) take(m *bus.Msg) {
	node, err := proto.UsageNode(m.Subject)
	said := &message.NodeUsage{}
	if len(m.Data) > mostBytes {
		err = fmt.Errorf("it has %d bytes, more than the %d that it may", len(m.Data), mostBytes)
	}
	if err == nil {
		err = protobuf.Unmarshal(m.Data, said)
	}
	if err != nil {
		s.log.Warn("unreadable usage", zap.String("subject", m.Subject), zap.Error(err))
		return
	}
	if !s.samples.Take(node, said) {
		return
	}
	select {
	case s.complete <- struct{}{}:
	default:
	}
}
