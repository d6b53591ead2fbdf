package controllers

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"kubus.dev/services/kit"
)

// Config is what an operator writes; config.example.yaml explains each key.
type Config struct {
	kit.Common `yaml:",inline"`

	LeaderElection       bool         `yaml:"leaderElection"`
	Instance             string       `yaml:"instance"`
	PodCIDR              string       `yaml:"podCIDR"`
	NodeMaskSize         int          `yaml:"nodeMaskSize"`
	RootCAFile           string       `yaml:"rootCAFile"`
	NodeGracePeriod      kit.Duration `yaml:"nodeGracePeriod"`
	NodeStartGracePeriod kit.Duration `yaml:"nodeStartGracePeriod"`
	Workers              int          `yaml:"workers"`

	TerminatedPodThreshold int `yaml:"terminatedPodThreshold"`
}

// Default is a cluster with the usual ranges.
func Default() Config {
	return Config{
		Common:               kit.DefaultCommon(),
		LeaderElection:       true,
		PodCIDR:              "10.244.0.0/16",
		NodeMaskSize:         24,
		NodeGracePeriod:      kit.Duration(40 * time.Second),
		NodeStartGracePeriod: kit.Duration(60 * time.Second),
		Workers:              4,

		TerminatedPodThreshold: 12500,
	}
}

// Validate fills in what an empty Instance means and gives all problems at once.
func (c *Config) Validate() error {
	var problems []error
	if c.Instance == "" {
		name, err := os.Hostname()
		if err != nil {
			problems = append(problems, fmt.Errorf("instance: %w", err))
		}
		c.Instance = name
	}
	if prefix, err := netip.ParsePrefix(c.PodCIDR); err != nil {
		problems = append(problems, fmt.Errorf("podCIDR: %q is no range, such as 10.244.0.0/16", c.PodCIDR))
	} else if c.NodeMaskSize < prefix.Bits() || c.NodeMaskSize > prefix.Addr().BitLen()-2 {
		problems = append(problems, fmt.Errorf("nodeMaskSize: /%d is no part of %s with room for pods", c.NodeMaskSize, prefix))
	}
	if c.NodeGracePeriod.Std() < 15*time.Second {
		problems = append(problems, fmt.Errorf("nodeGracePeriod: %s is too short for heartbeats every 10s", c.NodeGracePeriod.Std()))
	}
	if c.NodeStartGracePeriod < c.NodeGracePeriod {
		problems = append(problems, fmt.Errorf("nodeStartGracePeriod: %s is shorter than nodeGracePeriod", c.NodeStartGracePeriod.Std()))
	}
	if c.Workers < 1 {
		problems = append(problems, fmt.Errorf("workers: %d, at least 1 is needed", c.Workers))
	}
	return errors.Join(problems...)
}
