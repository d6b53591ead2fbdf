package network

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go.uber.org/zap"

	"kubus.dev/services/kit/iptables"
)

// jump is a rule in a built-in chain that leads into one of ours.
type jump struct {
	table, from, to string
	match           string
}

func (n Names) jumps() []jump {
	return []jump{
		{"nat", "POSTROUTING", n.Chain("MASQ"), ""},
		{"filter", "FORWARD", n.Chain("FWD"), ""},
		{"raw", "PREROUTING", n.Chain("SRC"), "-i " + n.veths()},
	}
}

// veths matches the node's ends of all pods' links.
func (n Names) veths() string { return n.vethPrefix() + "+" }

func (n Names) portJumps() []jump {
	return []jump{
		{"nat", "PREROUTING", n.Chain("HP"), "-m addrtype --dst-type LOCAL"},
		{"nat", "OUTPUT", n.Chain("HP"), "-m addrtype --dst-type LOCAL"},
		{"nat", "POSTROUTING", n.Chain("HPM"), ""},
		{"filter", "INPUT", n.Chain("HPI"), ""},
	}
}

func (j jump) rule() string {
	return strings.Join(strings.Fields("-A "+j.from+" "+j.match+" -j "+j.to), " ")
}

// masquerade rules: what leaves the pod CIDR for elsewhere than pods takes the node's address.
func (n Names) masquerade(cidr netip.Prefix, cluster string) []string {
	c := n.Chain("MASQ")
	return []string{
		fmt.Sprintf("-A %s ! -s %s -j RETURN", c, cidr),
		fmt.Sprintf("-A %s -d %s -j RETURN", c, cluster),
		fmt.Sprintf("-A %s -d 224.0.0.0/4 -j RETURN", c),
		fmt.Sprintf("-A %s -j MASQUERADE --random-fully", c),
	}
}

func (n Names) forward() []string {
	c := n.Chain("FWD")
	return []string{
		fmt.Sprintf("-A %s -i %s -j ACCEPT", c, n.veths()),
		fmt.Sprintf("-A %s -o %s -j ACCEPT", c, n.veths()),
		fmt.Sprintf("-A %s -i %s -j ACCEPT", c, n.Bridge), // pods of an agent of before
		fmt.Sprintf("-A %s -o %s -j ACCEPT", c, n.Bridge),
	}
}

// source rules drop what a pod sends to anybody's loopback, and what it sends from an address that does not lead back
// to its own link.
func (n Names) source(reversePath bool) []string {
	c := n.Chain("SRC")
	rules := []string{fmt.Sprintf("-A %s -d 127.0.0.0/8 -j DROP", c)}
	if reversePath {
		rules = append(rules, fmt.Sprintf("-A %s -m rpfilter --invert -j DROP", c))
	}
	return rules
}

func (n *Network) installRules(ctx context.Context, cidr netip.Prefix) error {
	cluster := n.opts.ClusterCIDR
	if cluster == "" {
		cluster = cidr.String()
	}
	chains := map[string][]string{
		"nat/" + n.names.Chain("MASQ"):   n.names.masquerade(cidr, cluster),
		"filter/" + n.names.Chain("FWD"): n.names.forward(),
		"raw/" + n.names.Chain("SRC"):    n.names.source(true),
	}
	err := restore(ctx, n.names.jumps(), chains)
	if err == nil {
		return nil
	}
	// Without that match in the kernel rp_filter of each link does it, unless the machine's own setting is looser.
	chains["raw/"+n.names.Chain("SRC")] = n.names.source(false)
	if again := restore(ctx, n.names.jumps(), chains); again != nil {
		return err
	}
	n.log.Warn("no rpfilter match in this kernel: pods' source addresses are checked by rp_filter alone", zap.Error(err))
	return nil
}

// restore fills chains ("table/chain" to rules) and adds the jumps that are missing, in one atomic call for each
// table. Rules of others are not touched.
func restore(ctx context.Context, jumps []jump, chains map[string][]string) error {
	present, err := iptables.Save(ctx)
	if err != nil {
		return err
	}
	var in bytes.Buffer
	for _, table := range []string{"raw", "nat", "filter"} {
		var body bytes.Buffer
		for _, key := range slices.Sorted(maps.Keys(chains)) {
			if t, chain, _ := strings.Cut(key, "/"); t == table {
				fmt.Fprintf(&body, ":%s - [0:0]\n", chain)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(chains)) {
			if t, _, _ := strings.Cut(key, "/"); t == table {
				for _, r := range chains[key] {
					fmt.Fprintln(&body, r)
				}
			}
		}
		for _, j := range jumps {
			if j.table == table && !slices.Contains(present[table], j.rule()) {
				fmt.Fprintln(&body, strings.Replace(j.rule(), "-A "+j.from, "-I "+j.from+" 1", 1))
			}
		}
		if body.Len() > 0 {
			fmt.Fprintf(&in, "*%s\n%sCOMMIT\n", table, body.String())
		}
	}
	return iptables.Restore(ctx, in.Bytes())
}

// removeRules takes away the instance's jumps and chains.
func removeRules(ctx context.Context, names Names) error {
	present, err := iptables.Save(ctx)
	if err != nil {
		return err
	}
	var in bytes.Buffer
	for _, table := range slices.Sorted(maps.Keys(present)) {
		var chains, body bytes.Buffer
		for _, line := range present[table] {
			if chain, ok := strings.CutPrefix(line, ":"); ok {
				chain, _, _ = strings.Cut(chain, " ")
				if strings.HasPrefix(chain, "KUBUS-") && strings.HasSuffix(chain, "-"+names.Hash) && names.owns(chain) {
					fmt.Fprintf(&body, "-F %s\n", chain)
					fmt.Fprintf(&chains, "-X %s\n", chain)
				}
			}
		}
		for _, line := range present[table] {
			rule, ok := strings.CutPrefix(line, "-A ")
			if !ok {
				continue
			}
			fields := strings.Fields(rule)
			if i := slices.Index(fields, "-j"); i >= 0 && i+1 < len(fields) && names.owns(fields[i+1]) && !names.owns(fields[0]) {
				fmt.Fprintf(&body, "-D %s\n", rule)
			}
		}
		if body.Len() > 0 {
			fmt.Fprintf(&in, "*%s\n%s%sCOMMIT\n", table, body.String(), chains.String())
		}
	}
	return iptables.Restore(ctx, in.Bytes())
}

func (n Names) owns(chain string) bool {
	for _, purpose := range []string{"MASQ", "FWD", "SRC", "HP", "HPM", "HPI"} {
		if chain == n.Chain(purpose) {
			return true
		}
	}
	return false
}
