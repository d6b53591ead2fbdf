package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
)

// HasRecent tells whether the kernel has the recent match, which session
// affinity needs. It looks, and where looking is not enough, tries it in a chain
// of the instance that it removes again.
func (t *Tool) HasRecent(ctx context.Context, prefix string) bool {
	if _, err := os.Stat("/proc/thread-self/net/xt_recent"); err == nil {
		return true
	}
	chain := prefix + "PROBE"
	try := fmt.Sprintf("*filter\n:%s - [0:0]\n-A %s -m recent --name %s --set -j RETURN\nCOMMIT\n", chain, chain, chain)
	if t.Restore(ctx, []byte(try)) != nil {
		return false
	}
	remove := fmt.Sprintf("*filter\n:%s - [0:0]\n-X %s\nCOMMIT\n", chain, chain)
	return t.Restore(ctx, []byte(remove)) == nil
}

// ServiceRange is a range of ClusterIPs that an instance's rules refuse where no
// Service serves it.
type ServiceRange struct {
	Prefix string // of the instance's chains
	Range  netip.Prefix
}

// ServiceRanges gives those of all instances but the one with this prefix.
func (t *Tool) ServiceRanges(ctx context.Context, except string) ([]ServiceRange, error) {
	out, err := exec.CommandContext(ctx, t.save, "-t", "filter").Output()
	if err != nil {
		return nil, fmt.Errorf("iptables-save -t filter: %w", err)
	}
	return serviceRanges(string(out), except), nil
}

func serviceRanges(saved, except string) []ServiceRange {
	var found []ServiceRange
	seen := map[ServiceRange]bool{}
	for line := range strings.Lines(saved) {
		// -A KB-9f86d0-OUT -d 10.96.0.0/16 ... -j REJECT
		words := strings.Fields(line)
		if len(words) < 4 || words[0] != "-A" || words[2] != "-d" || !strings.HasPrefix(words[1], anyInstance) {
			continue
		}
		prefix, isOut := strings.CutSuffix(words[1], "OUT")
		r, err := netip.ParsePrefix(words[3])
		if !isOut || err != nil || prefix == except {
			continue
		}
		if sr := (ServiceRange{prefix, r}); !seen[sr] {
			seen[sr] = true
			found = append(found, sr)
		}
	}
	return found
}
