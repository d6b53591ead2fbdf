// Package profile reads a KubeSchedulerConfiguration: upstream's file, by upstream's names. What
// changes decisions is taken over (profiles, plugins, their weights and arguments); what is
// about kube-scheduler's process (clientConnection, leaderElection, parallelism) is passed
// over; what cannot be had is an error that says so.
//
// Start with Load.
package profile

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	config "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"kubus.dev/services/scheduler/internal/shape"
)

// Set is what a file says.
type Set struct {
	Profiles []*shape.Profile
	// Backoff of pods that could not be decided, and how far it grows.
	Backoff, MostBackoff time.Duration
}

// Upstream's defaults of podInitialBackoffSeconds and podMaxBackoffSeconds.
const (
	firstBackoff = time.Second
	mostBackoff  = 10 * time.Second
)

// Default is the set of one default profile.
func Default(schedulerName string) Set {
	return Set{Profiles: []*shape.Profile{shape.DefaultProfile(schedulerName)}, Backoff: firstBackoff, MostBackoff: mostBackoff}
}

// Names are the schedulerNames of the profiles.
func (s *Set) Names() []string {
	out := make([]string, len(s.Profiles))
	for i, p := range s.Profiles {
		out[i] = p.Name
	}
	return out
}

// Load reads a file.
func Load(file string) (Set, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return Set{}, err
	}
	s, err := Parse(data)
	if err != nil {
		return Set{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// Parse reads a document, and tells everything that is wrong with it.
func Parse(data []byte) (Set, error) {
	var c config.KubeSchedulerConfiguration
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Set{}, err
	}
	set := Default(corev1.DefaultSchedulerName)
	var errs []error
	if c.APIVersion != "kubescheduler.config.k8s.io/v1" || c.Kind != "KubeSchedulerConfiguration" {
		errs = append(errs, fmt.Errorf("%s %s, must be kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration", c.APIVersion, c.Kind))
	}
	if len(c.Extenders) > 0 {
		errs = append(errs, errors.New("extenders: this scheduler calls no extenders"))
	}
	if s := c.PodInitialBackoffSeconds; s != nil {
		set.Backoff = time.Duration(*s) * time.Second
	}
	if s := c.PodMaxBackoffSeconds; s != nil {
		set.MostBackoff = time.Duration(*s) * time.Second
	}
	if set.Backoff <= 0 || set.MostBackoff < set.Backoff {
		errs = append(errs, fmt.Errorf("podInitialBackoffSeconds, podMaxBackoffSeconds: %s, %s; the first must be above 0 and not above the second", set.Backoff, set.MostBackoff))
	}
	if len(c.Profiles) > 0 {
		set.Profiles = nil
	}
	for i := range c.Profiles {
		p, err := profile(&c.Profiles[i])
		for _, e := range unwrap(err) {
			errs = append(errs, fmt.Errorf("profiles[%d].%w", i, e))
		}
		if slices.Contains(set.Names(), p.Name) {
			errs = append(errs, fmt.Errorf("profiles[%d].schedulerName: %q is another profile's", i, p.Name))
		}
		set.Profiles = append(set.Profiles, p)
	}
	return set, errors.Join(errs...)
}

func unwrap(err error) []error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		return many.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func profile(c *config.KubeSchedulerProfile) (*shape.Profile, error) {
	p := shape.DefaultProfile(corev1.DefaultSchedulerName)
	if c.SchedulerName != nil {
		p.Name = *c.SchedulerName
	}
	var errs []error
	if p.Name == "" {
		errs = append(errs, errors.New("schedulerName: must not be empty"))
	}
	if c.Plugins != nil {
		errs = append(errs, unwrap(plugins(p, c.Plugins))...)
	}
	seen := map[string]bool{}
	for i := range c.PluginConfig {
		name := c.PluginConfig[i].Name
		err := arguments(p, name, c.PluginConfig[i].Args.Raw)
		if seen[name] {
			err = errors.Join(err, errors.New("stands here twice"))
		}
		seen[name] = true
		if err != nil {
			errs = append(errs, fmt.Errorf("pluginConfig[%d] (%s): %w", i, name, err))
		}
	}
	return p, errors.Join(errs...)
}
