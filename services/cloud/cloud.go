// Package cloud connects the cluster to the machines it runs on: zone and region
// labels, the taint of nodes that no provider has seen, and load balancers for
// Services. README.md says what the built-in local provider does.
//
// Start with Config and Run.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/services/cloud/internal/provider"
	"kubus.dev/services/cloud/internal/reconcile"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/leader"
)

// ProviderLocal is the only built-in provider.
const ProviderLocal = "local"

// Config is what an operator writes. config.example.yaml says more of each key.
type Config struct {
	kit.Common `yaml:",inline"`

	// Provider is the cloud's name.
	Provider string `yaml:"provider"`
	// Local configures the local provider.
	Local Local `yaml:"local"`
	// LeaderElection: several processes take turns.
	LeaderElection bool `yaml:"leaderElection"`
	// Instance tells this process from others; empty: the host's name.
	Instance string `yaml:"instance"`
}

// Local says where machines stand. Empty values set no label.
type Local struct {
	Region string                       `yaml:"region"`
	Zone   string                       `yaml:"zone"`
	Nodes  map[string]provider.Location `yaml:"nodes"`
}

// Default is the local provider without regions and zones.
func Default() Config {
	return Config{Common: kit.DefaultCommon(), Provider: ProviderLocal, Local: Local{Nodes: map[string]provider.Location{}}, LeaderElection: true}
}

// Validate gives what is wrong.
func (c *Config) Validate() error {
	if c.Provider != ProviderLocal {
		return fmt.Errorf("provider: %q is unknown, there is %q", c.Provider, ProviderLocal)
	}
	return nil
}

// Resources is what the service reads of the state log.
func Resources() []proto.GroupResource { return reconcile.Resources() }

// Run works until ctx ends.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	local := provider.Local{Default: provider.Location{Region: cfg.Local.Region, Zone: cfg.Local.Zone}, Nodes: cfg.Local.Nodes}
	user := c.API.As(proto.CloudUser)
	var standby atomic.Bool
	view := c.Views.For(Resources()[0])
	p.Health.Ready("state-log", func() error {
		if !standby.Load() && !view.IsReady() {
			return errors.New("the state log is still being read")
		}
		return nil
	})
	work := func(ctx context.Context, fence *message.Fence) error {
		return reconcile.New(local, user, c.Views, p.Logger).Run(ctx, fence)
	}
	if !cfg.LeaderElection {
		return ended(ctx, work(ctx, nil))
	}
	standby.Store(true)
	return ended(ctx, leader.Run(ctx, leader.Options{
		Name: "cloud", Instance: cfg.instance(), Fences: user, Bus: leader.OnBus(c.Bus), Logger: p.Logger,
	}, work))
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (c *Config) instance() string {
	if c.Instance != "" {
		return c.Instance
	}
	name, err := os.Hostname()
	if err != nil {
		return "cloud"
	}
	return name
}
