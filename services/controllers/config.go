package controllers

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/node"
	"kubus.dev/services/kit"
)

// Config is what an operator writes; config.example.yaml explains each key.
type Config struct {
	kit.Common `yaml:",inline"`

	LeaderElection       bool         `yaml:"leaderElection"`
	Instance             string       `yaml:"instance"`
	PodCIDR              string       `yaml:"podCIDR"`
	NodeMaskSize         int          `yaml:"nodeMaskSize"`
	NodeMaskSizeIPv6     int          `yaml:"nodeMaskSizeIPv6"`
	RootCAFile           string       `yaml:"rootCAFile"`
	NodeGracePeriod      kit.Duration `yaml:"nodeGracePeriod"`
	NodeStartGracePeriod kit.Duration `yaml:"nodeStartGracePeriod"`
	// How fast nodes that are not ready are emptied, in each zone.
	NodeEvictionRate          float64 `yaml:"nodeEvictionRate"`
	SecondaryNodeEvictionRate float64 `yaml:"secondaryNodeEvictionRate"`
	UnhealthyZoneThreshold    float64 `yaml:"unhealthyZoneThreshold"`
	LargeClusterSizeThreshold int     `yaml:"largeClusterSizeThreshold"`

	Workers int `yaml:"workers"`
	// Controllers are the names of those that run, or of groups; "*" is all, and a
	// name with a minus before it runs not.
	Controllers []string `yaml:"controllers"`
	// Signing is the CA for certificates that are asked for by CertificateSigningRequests.
	SigningCertFile string `yaml:"signingCertFile"`
	SigningKeyFile  string `yaml:"signingKeyFile"`

	TerminatedPodThreshold int `yaml:"terminatedPodThreshold"`
	// LegacyTokenCleanUpPeriod is how long tokens of before Kubernetes 1.24 must be unused.
	LegacyTokenCleanUpPeriod kit.Duration `yaml:"legacyTokenCleanUpPeriod"`
}

// Default is a cluster with the usual ranges.
func Default() Config {
	return Config{
		Common:               kit.DefaultCommon(),
		LeaderElection:       true,
		PodCIDR:              "10.244.0.0/16",
		NodeMaskSize:         24,
		NodeMaskSizeIPv6:     64,
		NodeGracePeriod:      kit.Duration(50 * time.Second),
		NodeStartGracePeriod: kit.Duration(60 * time.Second),

		NodeEvictionRate:          0.1,
		SecondaryNodeEvictionRate: 0.01,
		UnhealthyZoneThreshold:    0.55,
		LargeClusterSizeThreshold: 50,

		Workers:     4,
		Controllers: []string{"*"},

		TerminatedPodThreshold:   12500,
		LegacyTokenCleanUpPeriod: kit.Duration(365 * 24 * time.Hour),
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
	if _, err := node.Ranges(c.PodCIDR, c.NodeMaskSize, c.NodeMaskSizeIPv6); err != nil {
		problems = append(problems, err)
	}
	if c.NodeGracePeriod.Std() < 15*time.Second {
		problems = append(problems, fmt.Errorf("nodeGracePeriod: %s is too short for heartbeats every 10s", c.NodeGracePeriod.Std()))
	}
	if c.NodeStartGracePeriod < c.NodeGracePeriod {
		problems = append(problems, fmt.Errorf("nodeStartGracePeriod: %s is shorter than nodeGracePeriod", c.NodeStartGracePeriod.Std()))
	}
	if c.NodeEvictionRate < 0 || c.SecondaryNodeEvictionRate < 0 {
		problems = append(problems, errors.New("nodeEvictionRate, secondaryNodeEvictionRate: less than no node a second"))
	}
	if c.UnhealthyZoneThreshold <= 0 || c.UnhealthyZoneThreshold > 1 {
		problems = append(problems, fmt.Errorf("unhealthyZoneThreshold: %v is no part of a zone, such as 0.55", c.UnhealthyZoneThreshold))
	}
	if c.LargeClusterSizeThreshold < 0 {
		problems = append(problems, fmt.Errorf("largeClusterSizeThreshold: %d nodes", c.LargeClusterSizeThreshold))
	}
	if c.LegacyTokenCleanUpPeriod <= 0 {
		problems = append(problems, fmt.Errorf("legacyTokenCleanUpPeriod: %s is no time to be unused", c.LegacyTokenCleanUpPeriod.Std()))
	}
	if c.Workers < 1 {
		problems = append(problems, fmt.Errorf("workers: %d, at least 1 is needed", c.Workers))
	}
	if (c.SigningCertFile == "") != (c.SigningKeyFile == "") {
		problems = append(problems, errors.New("signingCertFile and signingKeyFile: one needs the other"))
	}
	problems = append(problems, c.unknown()...)
	return errors.Join(problems...)
}

// unknown are the problems with the names of controllers.
func (c *Config) unknown() (problems []error) {
	known := map[string]bool{"*": true}
	for _, g := range Groups() {
		known[g.Name] = true
		for _, d := range g.Controllers {
			known[d.Name] = true
		}
	}
	for _, name := range c.Controllers {
		if !known[strings.TrimPrefix(name, "-")] {
			problems = append(problems, fmt.Errorf("controllers: %q is no controller and no group", name))
		}
	}
	if len(problems) == 0 && len(c.chosen()) == 0 {
		problems = append(problems, errors.New("controllers: none is left to run"))
	}
	return problems
}

// chosen are the controllers that run. A controller's own name counts more than that
// of its group, and a group's more than "*".
func (c *Config) chosen() []frame.Group {
	var chosen []frame.Group
	for _, g := range Groups() {
		kept := frame.Group{Name: g.Name}
		for _, d := range g.Controllers {
			for _, name := range []string{d.Name, g.Name, "*"} {
				if slices.Contains(c.Controllers, "-"+name) {
					break
				}
				if slices.Contains(c.Controllers, name) {
					kept.Controllers = append(kept.Controllers, d)
					break
				}
			}
		}
		if len(kept.Controllers) > 0 {
			chosen = append(chosen, kept)
		}
	}
	return chosen
}

// settings are what of it controllers read.
func (c *Config) settings() (*frame.Settings, error) {
	ca, err := read(c.RootCAFile, "rootCAFile")
	if err != nil {
		return nil, err
	}
	return &frame.Settings{
		PodCIDR: c.PodCIDR, NodeMaskSize: c.NodeMaskSize, NodeMaskSizeIPv6: c.NodeMaskSizeIPv6, RootCA: ca,
		SigningCertFile: c.SigningCertFile, SigningKeyFile: c.SigningKeyFile,
		NodeGracePeriod: c.NodeGracePeriod.Std(), NodeStartGracePeriod: c.NodeStartGracePeriod.Std(),
		NodeEvictionRate: c.NodeEvictionRate, SecondaryNodeEvictionRate: c.SecondaryNodeEvictionRate,
		UnhealthyZoneThreshold: c.UnhealthyZoneThreshold, LargeClusterSizeThreshold: c.LargeClusterSizeThreshold,
		TerminatedPodThreshold: c.TerminatedPodThreshold, LegacyTokenCleanUpPeriod: c.LegacyTokenCleanUpPeriod.Std(),
	}, nil
}
