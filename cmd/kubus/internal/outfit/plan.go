// Package outfit gives each process of a cluster that somebody else starts and keeps
// (compose, an init system, a chart) a folder: its configuration, and of the cluster's
// keys those that it needs and no others. What they are follows from the same roster as
// in the forms that kubus keeps itself.
//
//	DIR/pki                every key: for the operator, and for the next run
//	DIR/admin.kubeconfig   the operator's
//	DIR/NAME               what NAME sees as /etc/kubus, NAME.yaml or nats-server.conf first
//
// A second run makes what is missing, keeps all keys and writes the configurations anew.
package outfit

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"

	"kubus.dev/cmd/kubus/internal/roster"
)

// Mount is where a process has its folder.
const Mount = "/etc/kubus"

// Ports of the processes, each in a network of its own.
const (
	busPort    = "4222"
	routePort  = "6222"
	apiPort    = "6443"
	dnsPort    = "53"
	healthPort = "10260"
)

// Node is one node, whose agent and proxy share an address.
type Node struct{ Name, IP string }

// Plan is which processes there are and where they find each other. Names are such as
// others can resolve.
type Plan struct {
	Servers  []string // of NATS: one, three or five
	Gateways []string
	// API is the IPv4 at which gateways are reached by pods; APINames are the other names
	// and addresses by which clients do.
	API      string
	APINames []string
	DNS      string // IPv4 of the DNS server; "" for none
	Nodes    []Node
	NodeCIDR string // where nodes have their addresses

	PodCIDR, ServiceCIDR string
	PodNetwork           string // proxy.Routes or proxy.VXLAN
	// Settings are the operator's, roster.SettingsFile; "" for none.
	Settings string
}

// Validate tells everything that is wrong with the plan.
func (p *Plan) Validate() error {
	var problems []error
	problem := func(format string, a ...any) { problems = append(problems, fmt.Errorf(format, a...)) }
	if n := len(p.Servers); n != 1 && n != 3 && n != 5 {
		problem("%d NATS servers: want 1, 3 or 5", n)
	}
	if len(p.Gateways) == 0 {
		problem("no gateway")
	}
	names := reserved()
	for _, name := range slices.Concat(p.Servers, p.Gateways, p.nodeNames()) {
		for _, wrong := range validation.IsDNS1123Label(name) {
			problem("%q is no name for a process: %s", name, wrong)
		}
		if slices.Contains(names, name) {
			problem("there are two processes named %s", name)
		}
		names = append(names, name)
	}
	for _, node := range p.Nodes {
		for _, s := range roster.OfNode() {
			if name := nodeProcess(node.Name, s.Name); slices.Contains(names, name) {
				problem("there are two processes named %s", name)
			}
		}
	}
	for what, text := range map[string]string{"the API": p.API, "the DNS server": p.DNS} {
		if text != "" && !isIPv4(text) {
			problem("the address of %s: %q is no IPv4 address", what, text)
		}
	}
	for _, n := range p.Nodes {
		if !isIPv4(n.IP) {
			problem("the address of node %s: %q is no IPv4 address", n.Name, n.IP)
		}
	}
	for what, text := range map[string]string{"pods": p.PodCIDR, "Services": p.ServiceCIDR, "nodes": p.NodeCIDR} {
		if _, err := netip.ParsePrefix(text); err != nil && (text != "" || what != "nodes") {
			problem("the range of %s: %w", what, err)
		}
	}
	if len(p.Nodes) > 0 && p.API == "" {
		problem("nodes need an address of the API that their pods reach")
	}
	return errors.Join(problems...)
}

func isIPv4(text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && a.Is4()
}

func (p *Plan) nodeNames() []string {
	var names []string
	for _, n := range p.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// addresses are those of the servers, for whoever speaks to them at the port.
func (p *Plan) addresses(port string) []string {
	var out []string
	for _, s := range p.Servers {
		out = append(out, net.JoinHostPort(s, port))
	}
	return out
}
