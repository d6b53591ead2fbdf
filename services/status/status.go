// Package status is the status intake: it writes what agents report of their pods
// and nodes. README.md says how; Run is the whole of it.
package status

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/message"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/leader"
	"kubus.dev/services/status/internal/intake"
)

// Fence is the name under which one instance at a time runs.
const Fence = "status"

// Config is what an operator writes; config.example.yaml explains each key.
type Config struct {
	kit.Common `yaml:",inline"`

	// Replicas of stream REPORTS: 1, or 3 on a cluster of NATS servers.
	Replicas       int    `yaml:"replicas"`
	LeaderElection bool   `yaml:"leaderElection"`
	Instance       string `yaml:"instance"`
	// NodeAddresses are addresses and ranges that nodes may say are theirs; empty: all
	// that can be a machine's and are no other node's.
	NodeAddresses []string `yaml:"nodeAddresses"`
}

// Default is one of possibly several instances.
func Default() Config {
	return Config{Common: kit.DefaultCommon(), Replicas: 1, LeaderElection: true, NodeAddresses: []string{}}
}

// Validate fills in what an empty Instance means.
func (c *Config) Validate() error {
	if _, err := intake.ParseRanges(c.NodeAddresses); err != nil {
		return fmt.Errorf("nodeAddresses: %w", err)
	}
	if c.Instance != "" {
		return nil
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("instance: %w", err)
	}
	c.Instance = name
	return nil
}

// Reads lists what the service needs in its views.
func Reads() []proto.GroupResource {
	return []proto.GroupResource{{Resource: "pods"}, {Resource: "nodes"}}
}

// Run takes reports until ctx ends.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	var ready atomic.Bool
	p.Health.Ready("reports", func() error {
		if !ready.Load() {
			return errors.New("waiting for the views")
		}
		return nil
	})
	ranges, err := intake.ParseRanges(cfg.NodeAddresses)
	if err != nil {
		return fmt.Errorf("configuration: nodeAddresses: %w", err)
	}
	addresses := intake.NewAddresses(ranges, p.Metrics, p.Logger)
	api := c.API.As(proto.StatusUser)
	term := func(ctx context.Context, fence *message.Fence) error {
		view := c.Views.Stream(proto.StateStream)
		if err := view.Ready(ctx); err != nil {
			return nil // ctx has ended
		}
		if err := c.Bus.KeepStream(ctx, proto.ReportsStream, cfg.Replicas); err != nil {
			return nil // ctx has ended
		}
		ready.Store(true)
		return intake.New(c.Bus, view, api, fence, addresses, p.Logger).Run(ctx)
	}
	if cfg.LeaderElection {
		ready.Store(true) // a standby does its work
	}
	return leader.Run(ctx, leader.Options{
		Name: Fence, Instance: cfg.Instance, Fences: api, Bus: leader.OnBus(c.Bus), Logger: p.Logger,
		Alone: !cfg.LeaderElection,
	}, term)
}
