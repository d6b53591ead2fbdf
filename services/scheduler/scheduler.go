// Package scheduler places pods on nodes. It has three roles, in one process or
// apart: the broker decides what is looked at next, workers find nodes, and one
// planner verifies what they propose and commits it. README.md has the picture.
//
// Start with Config and Run.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/services/kit"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/profile"
)

// The roles.
const (
	RoleBroker  = "broker"
	RoleWorker  = "worker"
	RolePlanner = "planner"
)

// Config is what an operator writes. config.example.yaml says more of each key.
type Config struct {
	kit.Common `yaml:",inline"`

	// Roles this process plays.
	Roles []string `yaml:"roles"`
	// Workers in this process, each with its own picture of the cluster.
	Workers int `yaml:"workers"`
	// InFlight is how many evaluations a worker has, and how many bulks the planner
	// has on their way at once.
	InFlight int `yaml:"inFlight"`
	// SchedulerName is the spec.schedulerName that is answered to.
	SchedulerName string `yaml:"schedulerName"`
	// Configuration is a file with a KubeSchedulerConfiguration, whose profiles are answered to
	// instead of SchedulerName; empty for none.
	Configuration string `yaml:"configuration"`
	// LeaderElection: broker and planner of several processes take turns. Off, this
	// process must be the only one with these roles.
	LeaderElection bool `yaml:"leaderElection"`
	// Instance tells this process from others; empty: the host's name.
	Instance string `yaml:"instance"`
}

// Default is the configuration of a process that plays all roles.
func Default() Config {
	return Config{
		Common:         kit.DefaultCommon(),
		Roles:          []string{RoleBroker, RoleWorker, RolePlanner},
		Workers:        1,
		InFlight:       3,
		SchedulerName:  "default-scheduler",
		LeaderElection: true,
	}
}

// Validate gives all problems at once.
func (c *Config) Validate() error {
	var errs []error
	if len(c.Roles) == 0 {
		errs = append(errs, errors.New("roles: name at least one of broker, worker, planner"))
	}
	for i, role := range c.Roles {
		if role != RoleBroker && role != RoleWorker && role != RolePlanner {
			errs = append(errs, fmt.Errorf("roles[%d]: %q is none of broker, worker, planner", i, role))
		}
	}
	if c.Workers < 1 {
		errs = append(errs, fmt.Errorf("workers: %d, must be at least 1", c.Workers))
	}
	if c.InFlight < 1 {
		errs = append(errs, fmt.Errorf("inFlight: %d, must be at least 1", c.InFlight))
	}
	if c.SchedulerName == "" {
		errs = append(errs, errors.New("schedulerName: must not be empty"))
	}
	if _, err := c.profiles(); err != nil {
		errs = append(errs, fmt.Errorf("configuration: %w", err))
	}
	return errors.Join(errs...)
}

// profiles are what pods are scheduled by.
func (c *Config) profiles() (profile.Set, error) {
	if c.Configuration == "" {
		return profile.Default(c.SchedulerName), nil
	}
	return profile.Load(c.Configuration)
}

func (c *Config) plays(role string) bool { return slices.Contains(c.Roles, role) }

// Resources is what the scheduler reads of the state log.
func Resources() []proto.GroupResource { return feed.Resources() }

// Run plays the configured roles until ctx ends.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	profiles, err := cfg.profiles()
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := newService(cfg, profiles, p, c).run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	return nil
}

// instance tells this process from other schedulers.
func (c *Config) instance() string {
	if c.Instance != "" {
		return c.Instance
	}
	name, err := os.Hostname()
	if err != nil {
		return "scheduler"
	}
	return name
}
