package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
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
	}
}

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
		fmt.Sprintf("-A %s -i %s -j ACCEPT", c, n.Bridge),
		fmt.Sprintf("-A %s -o %s -j ACCEPT", c, n.Bridge),
	}
}

func (n *Network) installRules(ctx context.Context, cidr netip.Prefix) error {
	cluster := n.opts.ClusterCIDR
	if cluster == "" {
		cluster = cidr.String()
	}
	return restore(ctx, n.names.jumps(), map[string][]string{
		"nat/" + n.names.Chain("MASQ"):   n.names.masquerade(cidr, cluster),
		"filter/" + n.names.Chain("FWD"): n.names.forward(),
	})
}

// restore fills chains ("table/chain" to rules) and adds the jumps that are missing, in one atomic call for each
// table. Rules of others are not touched.
func restore(ctx context.Context, jumps []jump, chains map[string][]string) error {
	present, err := save(ctx)
	if err != nil {
		return err
	}
	var in bytes.Buffer
	for _, table := range []string{"nat", "filter"} {
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
	return iptablesRestore(ctx, in.Bytes())
}

// save lists the rules by table, as iptables-save prints them.
func save(ctx context.Context) (map[string][]string, error) {
	cmd := exec.CommandContext(ctx, "iptables-save")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("iptables-save: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	tables := map[string][]string{}
	table := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if t, ok := strings.CutPrefix(line, "*"); ok {
			table = t
		} else if strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, ":") {
			tables[table] = append(tables[table], line)
		}
	}
	return tables, nil
}

func iptablesRestore(ctx context.Context, in []byte) error {
	if len(in) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, "iptables-restore", "--noflush", "-w", "10")
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// removeRules takes away the instance's jumps and chains.
func removeRules(ctx context.Context, names Names) error {
	present, err := save(ctx)
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
	return iptablesRestore(ctx, in.Bytes())
}

func (n Names) owns(chain string) bool {
	for _, purpose := range []string{"MASQ", "FWD", "HP", "HPM", "HPI"} {
		if chain == n.Chain(purpose) {
			return true
		}
	}
	return false
}

// hostPorts keeps the pods' ports on the node; the file is the truth after a restart.
type hostPorts struct {
	file  string
	names Names

	mu   sync.Mutex
	pods map[string]podPorts
}

type podPorts struct {
	IP    netip.Addr    `json:"ip"`
	Ports []PortMapping `json:"ports"`
}

func openHostPorts(file string, names Names) (*hostPorts, error) {
	h := &hostPorts{file: file, names: names, pods: map[string]podPorts{}}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &h.pods)
	}
	if err != nil {
		return nil, fmt.Errorf("reading hostPorts: %w", err)
	}
	return h, nil
}

func (h *hostPorts) add(ctx context.Context, owner string, ip netip.Addr, ports []PortMapping) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pods[owner] = podPorts{ip, ports}
	return h.sync(ctx)
}

func (h *hostPorts) remove(ctx context.Context, owner string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.pods[owner]; !ok {
		return nil
	}
	delete(h.pods, owner)
	return h.sync(ctx)
}

func (h *hostPorts) keep(ctx context.Context, owners map[string]netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := len(h.pods)
	maps.DeleteFunc(h.pods, func(owner string, _ podPorts) bool { _, ok := owners[owner]; return !ok })
	if len(h.pods) == before {
		return nil
	}
	return h.sync(ctx)
}

// restore brings the rules in line with the file, when there have ever been hostPorts.
func (h *hostPorts) restore(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pods) == 0 {
		return nil
	}
	return h.sync(ctx)
}

func (h *hostPorts) sync(ctx context.Context) error {
	data, err := json.Marshal(h.pods)
	if err != nil {
		return err
	}
	if err := os.WriteFile(h.file+".new", data, 0o600); err != nil {
		return fmt.Errorf("writing hostPorts: %w", err)
	}
	if err := os.Rename(h.file+".new", h.file); err != nil {
		return fmt.Errorf("writing hostPorts: %w", err)
	}
	// Ports on 127.0.0.1 need packets from loopback to leave it; HPI drops those that come from outside.
	if err := setSysctl("net/ipv4/conf/"+h.names.Bridge+"/route_localnet", "1"); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return restore(ctx, h.names.portJumps(), h.names.portRules(h.pods))
}

func (n Names) portRules(pods map[string]podPorts) map[string][]string {
	in, masq := n.Chain("HP"), n.Chain("HPM")
	rules := map[string][]string{
		"nat/" + in:   {},
		"nat/" + masq: {},
		"filter/" + n.Chain("HPI"): {fmt.Sprintf("-A %s -i %s -d 127.0.0.0/8 ! -s 127.0.0.0/8 "+
			"-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP", n.Chain("HPI"), n.Bridge)},
	}
	for _, owner := range slices.Sorted(maps.Keys(pods)) {
		pod := pods[owner]
		for _, p := range pod.Ports {
			to := ""
			if p.HostIP != "" && p.HostIP != "0.0.0.0" {
				to = " -d " + p.HostIP + "/32"
			}
			rules["nat/"+in] = append(rules["nat/"+in], fmt.Sprintf("-A %s%s -p %s -m %s --dport %d -j DNAT --to-destination %s:%d",
				in, to, p.Protocol, p.Protocol, p.HostPort, pod.IP, p.ContainerPort))
			for _, from := range []string{pod.IP.String() + "/32", "127.0.0.0/8"} { // a pod that calls itself; the node's loopback
				rules["nat/"+masq] = append(rules["nat/"+masq], fmt.Sprintf("-A %s -s %s -d %s/32 -p %s -m %s --dport %d -j MASQUERADE",
					masq, from, pod.IP, p.Protocol, p.Protocol, p.ContainerPort))
			}
		}
	}
	return rules
}
