package nodenet

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kubus.dev/services/kit/iptables"
)

// jump is a rule in a built-in chain that leads into one of ours.
type jump struct{ table, from, to string }

func (n names) jumps() []jump {
	return []jump{{"nat", "POSTROUTING", n.chain("MASQ")}, {"filter", "FORWARD", n.chain("FWD")}, {"filter", "INPUT", n.chain("IN")}}
}

// rules of the machine for its nodes' network, by table and chain. Nodes and pods meet with
// their own addresses; what nodes send to others has the machine's. The machine's address
// there is for nodes alone: the bus listens on it.
func (n names) rules(nodes netip.Prefix, pods string) map[string][]string {
	masq, fwd, in := n.chain("MASQ"), n.chain("FWD"), n.chain("IN")
	return map[string][]string{
		"nat/" + masq: {
			fmt.Sprintf("-A %s ! -s %s -j RETURN", masq, nodes),
			fmt.Sprintf("-A %s -d %s -j RETURN", masq, nodes),
			fmt.Sprintf("-A %s -d %s -j RETURN", masq, pods),
			fmt.Sprintf("-A %s -d 224.0.0.0/4 -j RETURN", masq),
			fmt.Sprintf("-A %s -j MASQUERADE --random-fully", masq),
		},
		"filter/" + fwd: {
			fmt.Sprintf("-A %s -i %s -j ACCEPT", fwd, n.bridge()),
			fmt.Sprintf("-A %s -o %s -j ACCEPT", fwd, n.bridge()),
		},
		"filter/" + in: {
			fmt.Sprintf("-A %s ! -d %s -j RETURN", in, nodes),
			fmt.Sprintf("-A %s -i lo -j RETURN", in),
			fmt.Sprintf("-A %s ! -i %s -j DROP", in, n.bridge()),
		},
	}
}

func (n names) installRules(ctx context.Context, nodes netip.Prefix, pods string) error {
	present, err := iptables.Save(ctx)
	if err != nil {
		return err
	}
	rules := n.rules(nodes, pods)
	var in bytes.Buffer
	for _, table := range []string{"nat", "filter"} {
		fmt.Fprintf(&in, "*%s\n", table)
		for _, j := range n.jumps() {
			if j.table != table {
				continue
			}
			fmt.Fprintf(&in, ":%s - [0:0]\n", j.to)
			for _, rule := range rules[table+"/"+j.to] {
				fmt.Fprintln(&in, rule)
			}
			if line := fmt.Sprintf("-A %s -j %s", j.from, j.to); !slices.Contains(present[table], line) {
				fmt.Fprintf(&in, "-I %s 1 -j %s\n", j.from, j.to)
			}
		}
		fmt.Fprintln(&in, "COMMIT")
	}
	return iptables.Restore(ctx, in.Bytes())
}

func (n names) removeRules(ctx context.Context) error {
	present, err := iptables.Save(ctx)
	if err != nil {
		return err
	}
	var in bytes.Buffer
	for _, table := range []string{"nat", "filter"} {
		var body bytes.Buffer
		for _, j := range n.jumps() {
			if j.table != table {
				continue
			}
			for _, line := range present[table] {
				if line == fmt.Sprintf("-A %s -j %s", j.from, j.to) {
					fmt.Fprintf(&body, "-D %s -j %s\n", j.from, j.to)
				}
			}
			if slices.ContainsFunc(present[table], func(l string) bool { return strings.HasPrefix(l, ":"+j.to+" ") }) {
				fmt.Fprintf(&body, "-F %s\n-X %s\n", j.to, j.to)
			}
		}
		if body.Len() > 0 {
			fmt.Fprintf(&in, "*%s\n%sCOMMIT\n", table, body.String())
		}
	}
	return iptables.Restore(ctx, in.Bytes())
}
