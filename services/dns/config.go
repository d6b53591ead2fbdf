package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"kubus.dev/services/dns/internal/forward"
	"kubus.dev/services/kit"
)

// Config is what an operator writes; config.example.yaml explains each key.
type Config struct {
	kit.Common `yaml:",inline"`

	Address    string       `yaml:"address"`
	Advertise  string       `yaml:"advertise"`
	Node       string       `yaml:"node"`
	Instance   string       `yaml:"instance"`
	Domain     string       `yaml:"domain"`
	ClusterIP  string       `yaml:"clusterIP"`
	TTL        kit.Duration `yaml:"ttl"`
	OwnReverse []string     `yaml:"ownReverse"`
	Clients    []string     `yaml:"clients"`
	Forward    []string     `yaml:"forward"`
	CacheSize  int          `yaml:"cacheSize"`
}

// Default serves a cluster with the usual ranges, to this machine only.
func Default() Config {
	return Config{
		Common:     kit.DefaultCommon(),
		Address:    "127.0.0.1:10053",
		Domain:     "cluster.local",
		ClusterIP:  "10.96.0.10",
		TTL:        kit.Duration(5 * time.Second),
		OwnReverse: []string{"10.96.0.0/16", "10.244.0.0/16"},
		Forward:    []string{"/etc/resolv.conf"},
		CacheSize:  10000,
	}
}

// Validate fills in what empty keys mean and gives all problems at once.
func (c *Config) Validate() error {
	if c.Node == "" {
		c.Node, _ = os.Hostname()
	}
	if c.Instance == "" {
		c.Instance = strings.ToLower(c.Node)
	}
	var problems []error
	if _, err := netip.ParseAddrPort(c.Address); err != nil {
		problems = append(problems, fmt.Errorf("address: %q is no address with a port, such as 10.244.0.1:10053", c.Address))
	}
	if c.Advertise != "" {
		if at, err := netip.ParseAddrPort(c.Advertise); err != nil || !advertisable(at) {
			problems = append(problems, fmt.Errorf("advertise: %q is no address with a port that pods can reach", c.Advertise))
		}
	}
	if addr, err := netip.ParseAddr(c.ClusterIP); err != nil || !addr.Is4() {
		problems = append(problems, fmt.Errorf("clusterIP: %q is no IPv4 address", c.ClusterIP))
	}
	if ttl := c.TTL.Std(); ttl < 0 || ttl > time.Hour || ttl%time.Second != 0 {
		problems = append(problems, fmt.Errorf("ttl: %s is not whole seconds of at most an hour", ttl))
	}
	for key, list := range map[string][]string{"ownReverse": c.OwnReverse, "clients": c.Clients} {
		for i, text := range list {
			if _, err := netip.ParsePrefix(text); err != nil {
				problems = append(problems, fmt.Errorf("%s[%d]: %q is no range, such as 10.96.0.0/16", key, i, text))
			}
		}
	}
	for i, source := range c.Forward {
		if !forward.Check(source) {
			problems = append(problems, fmt.Errorf("forward[%d]: %q is neither an address nor a file", i, source))
		}
	}
	if c.CacheSize < 0 {
		problems = append(problems, fmt.Errorf("cacheSize: %d is negative", c.CacheSize))
	}
	return errors.Join(problems...)
}

// advertisable tells whether an endpoint may have the address: Kubernetes
// refuses loopback, link-local and unspecified ones.
func advertisable(at netip.AddrPort) bool {
	a := at.Addr()
	return a.IsValid() && !a.IsLoopback() && !a.IsUnspecified() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && at.Port() != 0
}

// prefixes relies on Validate.
func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}
