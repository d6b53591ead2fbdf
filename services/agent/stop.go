package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/shutdown"
	"kubus.dev/services/agent/internal/source"
)

// leftGrace is for processes of which no pod on the disk knows, and of those that could not be stopped as their pods say.
const leftGrace = 2 * time.Second

// StopLimit is how long Stop takes at most, with bound for pods where the configuration has no periods of its own.
func (c *Config) StopLimit(bound time.Duration) time.Duration {
	if own := shutdown.Total(c.shutdownPeriods()); own > 0 {
		bound = own
	}
	return bound + leftGrace + 20*time.Second // of sandboxes that are taken down
}

func (c *Config) shutdownPeriods() []shutdown.Period {
	return shutdown.Periods(c.ShutdownGracePeriod.Std(), c.ShutdownGracePeriodCriticalPods.Std())
}

// Stop ends everything that a stopped agent has left running: pods as they say, hooks and grace periods included, but
// within shutdownGracePeriod, or bound where that is not set; then their mounts, cgroups and network. The next Run goes
// on from the files. It may be called again.
func Stop(ctx context.Context, cfg Config, bound time.Duration, log *zap.Logger) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	opts := cfg.runtime(log)
	if bound > 0 && runtime.Left(opts) {
		if err := cfg.stopPods(ctx, opts, bound, log); err != nil {
			log.Warn("pods end without their hooks and grace periods", zap.Error(err))
		}
	}
	return runtime.Halt(ctx, opts, min(bound, leftGrace))
}

func (c *Config) stopPods(ctx context.Context, opts runtime.Options, bound time.Duration, log *zap.Logger) error {
	store, err := source.OpenStore(filepath.Join(c.DataDir, "agent"))
	if err != nil {
		return err
	}
	pods, _, err := store.Pods()
	if err != nil {
		return err
	}
	rt, err := runtime.New(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Close() }() // what is left is halted
	periods := c.shutdownPeriods()
	if len(periods) == 0 {
		periods = []shutdown.Period{{Grace: bound}} // all at once
	}
	h := &pod.Halt{Runtime: rt, Runner: probe.NewRunner(rt), NodeIP: c.NodeIP, Log: log}
	h.Groups(ctx, shutdown.Groups(pods, periods))
	return nil
}

// watcher ends the pods before the machine does, where shutdownGracePeriod says how long that may take; nil: it says
// nothing.
func (a *agent) watcher() *shutdown.Watcher {
	periods := a.cfg.shutdownPeriods()
	if len(periods) == 0 {
		return nil
	}
	return &shutdown.Watcher{
		Need: shutdown.Total(periods), Log: a.log,
		Begin: func(ctx context.Context) {
			a.events.Node("Normal", "Shutdown", "Shutdown manager detected shutdown event")
			a.pods.ShuttingDown(true)
			a.node.SetShuttingDown(true)
			a.pods.ShutDown(ctx, periods)
		},
		Cancelled: func() {
			a.events.Node("Normal", "Shutdown", "Shutdown manager detected shutdown cancelled")
			a.pods.ShuttingDown(false)
			a.node.SetShuttingDown(false)
		},
	}
}
