package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"kubus.dev/services/kit"
	"kubus.dev/services/proxy/internal/route"
	"kubus.dev/services/proxy/internal/rule"
)

// Config is what an operator writes; config.example.yaml explains each key.
type Config struct {
	kit.Common `yaml:",inline"`

	Node            string       `yaml:"node"`
	Instance        string       `yaml:"instance"`
	ServiceCIDRs    []string     `yaml:"serviceCIDRs"`
	PodCIDR         string       `yaml:"podCIDR"`
	PodNetwork      string       `yaml:"podNetwork"`
	DataDir         string       `yaml:"dataDir"`
	MasqueradeBit   uint         `yaml:"masqueradeBit"`
	MinSyncInterval kit.Duration `yaml:"minSyncInterval"`
}

// Ways for packets of pods from node to node; empty is somebody else's business.
const (
	Routes = "routes"
	VXLAN  = "vxlan"
)

// Overhead is what VXLAN takes off the MTU of pods.
const Overhead = route.Overhead

// Default is a node of a cluster with the usual ranges.
func Default() Config {
	return Config{
		Common:          kit.DefaultCommon(),
		ServiceCIDRs:    []string{"10.96.0.0/16"},
		PodCIDR:         "10.244.0.0/16",
		PodNetwork:      Routes,
		DataDir:         "/var/lib/kubus/proxy",
		MasqueradeBit:   14,
		MinSyncInterval: kit.Duration(5 * time.Millisecond),
	}
}

// Validate fills in what an empty Node and Instance mean and gives all problems
// at once.
func (c *Config) Validate() error {
	if c.Node == "" {
		c.Node = hostname()
	}
	if c.Instance == "" {
		c.Instance = c.Node
	}
	var problems []error
	for i, text := range c.ServiceCIDRs {
		if _, err := prefix4(text); err != nil {
			problems = append(problems, fmt.Errorf("serviceCIDRs[%d]: %w", i, err))
		}
	}
	if len(c.ServiceCIDRs) == 0 {
		problems = append(problems, errors.New("serviceCIDRs: at least one range is needed, such as 10.96.0.0/16"))
	}
	if c.PodCIDR != "" {
		if _, err := prefix4(c.PodCIDR); err != nil {
			problems = append(problems, fmt.Errorf("podCIDR: %w", err))
		}
	}
	switch {
	case c.PodNetwork != "" && c.PodNetwork != Routes && c.PodNetwork != VXLAN:
		problems = append(problems, fmt.Errorf("podNetwork: %q is none of %s and %s", c.PodNetwork, Routes, VXLAN))
	case c.PodNetwork == VXLAN && c.PodCIDR == "":
		problems = append(problems, errors.New("podNetwork: vxlan needs podCIDR"))
	}
	if c.MasqueradeBit > 31 {
		problems = append(problems, fmt.Errorf("masqueradeBit: %d is not a bit of the packet mark, 0 to 31", c.MasqueradeBit))
	}
	if c.MinSyncInterval < 0 {
		problems = append(problems, fmt.Errorf("minSyncInterval: %s is negative", c.MinSyncInterval.Std()))
	}
	return errors.Join(problems...)
}

// prefix4 reads an IPv4 range.
func prefix4(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is no range, such as 10.96.0.0/16", text)
	}
	if !p.Addr().Is4() {
		return p, fmt.Errorf("%s is not IPv4, the only family there is so far", text)
	}
	return p.Masked(), nil
}

// serviceCIDRs relies on Validate.
func (c *Config) serviceCIDRs() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(c.ServiceCIDRs))
	for _, text := range c.ServiceCIDRs {
		if p, err := prefix4(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// routes says how routes to other nodes are to be kept; false: not by us. A node knows
// which are its own by the range of pods.
func (c *Config) routes(logger *zap.Logger) (route.Options, bool) {
	if c.PodNetwork == "" || c.PodCIDR == "" {
		return route.Options{}, false
	}
	cluster, _ := prefix4(c.PodCIDR) // Validate has read it
	o := route.Options{Node: c.Node, Cluster: cluster, Logger: logger}
	if c.PodNetwork == VXLAN {
		o.Device = device(c.Instance)
	}
	return o, true
}

// device is the name of an instance's device of tunnels.
func device(instance string) string {
	sum := sha256.Sum256([]byte(instance))
	return "kx-" + hex.EncodeToString(sum[:4])
}

func (c *Config) rules(affinity bool) rule.Options {
	o := rule.Options{
		Prefix: rule.Prefix(c.Instance), ServiceCIDRs: c.serviceCIDRs(), MarkBit: c.MasqueradeBit, Affinity: affinity,
	}
	if c.PodCIDR != "" {
		o.PodCIDR, _ = prefix4(c.PodCIDR)
	}
	return o
}
