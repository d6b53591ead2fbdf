package instance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
)

// Claim is what an instance tells the others on the host; it lives in HostRun
// until the instance is purged or the machine starts anew.
type Claim struct {
	ID          string `json:"id"`
	Dir         string `json:"dir"`
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
	NodeCIDR    string `json:"nodeCIDR,omitempty"`
}

// Register writes the instance's claim.
func (i *Instance) Register() error {
	if err := os.MkdirAll(claimDir, 0o700); err != nil {
		return fmt.Errorf("registering the instance: %w", err)
	}
	data, err := json.Marshal(Claim{i.ID, i.Dir, i.PodCIDR, i.ServiceCIDR, i.NodeCIDR})
	if err != nil {
		return err
	}
	return WriteFile(i.claimFile(), data, 0o600)
}

var claimDir = filepath.Join(HostRun, "claims")

func (i *Instance) claimFile() string { return filepath.Join(claimDir, i.ID+".json") }

// Unregister takes the claim back, and what is kept of the instance until the next boot.
func (i *Instance) Unregister() error {
	err := errors.Join(os.RemoveAll(i.claimFile()), os.RemoveAll(i.HostRunDir()))
	_, _ = os.Remove(claimDir), os.Remove(HostRun) // these go with the last instance
	if err != nil {
		return fmt.Errorf("removing the instance's claim: %w", err)
	}
	return nil
}

// Claims lists the claims of other instances whose data still exists.
func Claims(own string) ([]Claim, error) {
	files, err := filepath.Glob(filepath.Join(claimDir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []Claim
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the claims of other instances: %w", err)
		}
		var c Claim
		if json.Unmarshal(data, &c) != nil || c.ID == own {
			continue
		}
		if _, err := os.Stat(filepath.Join(c.Dir, "instance.json")); err == nil {
			out = append(out, c)
		}
	}
	return out, nil
}

// Used is an address range that something on the host owns.
type Used struct {
	Prefix netip.Prefix
	By     string // such as "interface eth0" or "the kubus in /var/lib/kubus"
}

// UsedRanges lists the ranges of other instances and, for an instance that was not
// there before and so has no interface of its own, of the host's interfaces.
func UsedRanges(own string, fresh bool) ([]Used, error) {
	claims, err := Claims(own)
	if err != nil {
		return nil, err
	}
	var used []Used
	for _, c := range claims {
		for _, text := range []string{c.PodCIDR, c.ServiceCIDR, c.NodeCIDR} {
			if p, err := netip.ParsePrefix(text); err == nil {
				used = append(used, Used{p, "the kubus in " + c.Dir})
			}
		}
	}
	if !fresh {
		return used, nil
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("reading the host's interfaces: %w", err)
	}
	for _, in := range interfaces {
		addresses, err := in.Addrs()
		if err != nil {
			return nil, fmt.Errorf("reading the addresses of %s: %w", in.Name, err)
		}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				used = append(used, Used{p.Masked(), "interface " + in.Name})
			}
		}
	}
	return used, nil
}

// FreeRange gives want when nothing uses it; else, when it was not asked for by
// the user, the next /16 that is free.
func FreeRange(want string, asked bool, used []Used) (string, error) {
	p, err := netip.ParsePrefix(want)
	if err != nil {
		return "", err
	}
	for range 64 {
		clash := overlap(p, used)
		if clash == nil {
			return p.String(), nil
		}
		if asked {
			return "", fmt.Errorf("%s overlaps %s of %s: choose another range", p, clash.Prefix, clash.By)
		}
		b := p.Addr().As4()
		b[1]++
		p = netip.PrefixFrom(netip.AddrFrom4(b), p.Bits())
	}
	return "", fmt.Errorf("no range beside %s is free: choose one", want)
}

func overlap(p netip.Prefix, used []Used) *Used {
	for n := range used {
		if used[n].Prefix.Overlaps(p) {
			return &used[n]
		}
	}
	return nil
}
