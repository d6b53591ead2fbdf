package command

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/services/proxy"
)

// upFlags is what the user said; changed tells which flags were given at all.
type upFlags struct {
	dataDir, listen, kubeconfig string
	nodeName, nodeIP            string
	nodes                       int
	podCIDR, serviceCIDR        string
	nodeCIDR, podNetwork        string
	detach                      bool
	store, storeNkey, storeCA   string
	form                        string
	settings                    string
	simNodes                    int
	simProfile                  string
	changed                     func(flag string) bool
}

// plan merges the flags with what an earlier start chose. It refuses what cannot
// be changed in a cluster that exists, and says everything that is wrong at once.
func plan(f upFlags, old *instance.Instance, hostname string) (*instance.Instance, error) {
	i := &instance.Instance{Dir: f.dataDir, Nodes: 1, Form: instance.AllInOne}
	if old != nil {
		copied := *old
		i = &copied
	}
	var problems []error
	choose := func(flag string, have *string, said string) {
		if *have == "" || f.changed(flag) {
			*have = said
		}
	}
	fixed := func(flag string, have *string, said string) {
		if old != nil && *have != "" && f.changed(flag) && *have != said {
			problems = append(problems, fmt.Errorf("--%s is %s in the cluster of %s and cannot become %s: remove the cluster with `kubus down --purge`, or choose another --data-dir", flag, *have, f.dataDir, said))
			return
		}
		choose(flag, have, said)
	}
	choose("listen", &i.Listen, f.listen)
	choose("node-ip", &i.NodeIP, f.nodeIP)
	choose("form", &i.Form, f.form)
	if f.nodeName == "" {
		f.nodeName = strings.ToLower(hostname)
	}
	fixed("node-name", &i.NodeName, f.nodeName)
	fixed("store", &i.Store, f.store)
	choose("store-nkey", &i.StoreNkey, f.storeNkey)
	choose("store-ca", &i.StoreCA, f.storeCA)
	fixed("pod-cidr", &i.PodCIDR, f.podCIDR)
	fixed("service-cidr", &i.ServiceCIDR, f.serviceCIDR)
	fixed("node-cidr", &i.NodeCIDR, f.nodeCIDR)
	fixed("pod-network", &i.PodNetwork, f.podNetwork)
	if i.ID == "" {
		i.ID = instance.ID(i.Dir, i.NodeName)
	}
	if old == nil || f.changed("nodes") {
		problems = append(problems, nodes(i, f.nodes))
	}
	if f.changed("sim-nodes") {
		i.SimNodes = f.simNodes
	}
	choose("sim-profile", &i.SimProfile, f.simProfile)
	problems = append(problems, check(i)...)
	problems = append(problems, checkSim(i)...)
	return i, errors.Join(problems...)
}

// nodes makes the instance one of so many nodes. It takes none away that are there, since
// what they hold would be lost.
func nodes(i *instance.Instance, want int) error {
	if want < 0 || want > instance.MaxNodes {
		return fmt.Errorf("--nodes %d: a machine can be none (0) to %d nodes", want, instance.MaxNodes)
	}
	if len(i.Further) > 0 && want < i.Nodes {
		last := i.Further[len(i.Further)-1].Name
		return fmt.Errorf("--nodes %d: there are %d; take one away with `kubus node remove %s`", want, i.Nodes, last)
	}
	i.Nodes = min(want, 1)
	for i.Nodes > 0 && i.Nodes < want {
		i.Nodes = 1 + len(i.Further)
		if i.Nodes == want {
			break
		}
		if _, err := i.AddNode(""); err != nil {
			return fmt.Errorf("--nodes %d: %w", want, err)
		}
	}
	return nil
}

func check(i *instance.Instance) (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if host, port, err := net.SplitHostPort(i.Listen); err != nil {
		wrong("--listen %s: want address:port, such as 127.0.0.1:6443", i.Listen)
	} else {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			wrong("--listen %s: %q is no port", i.Listen, port)
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "" {
			wrong("--listen %s: %q is no address", i.Listen, host)
		}
	}
	if err := nodeName(i.NodeName); err != nil {
		wrong("--node-name %q: %w", i.NodeName, err)
	}
	if i.PodNetwork != proxy.Routes && i.PodNetwork != proxy.VXLAN {
		wrong("--pod-network %s: want %s or %s", i.PodNetwork, proxy.Routes, proxy.VXLAN)
	}
	if i.NodeIP != "" {
		if a, err := netip.ParseAddr(i.NodeIP); err != nil || !a.Is4() {
			wrong("--node-ip %s: want an IPv4 address", i.NodeIP)
		}
	}
	if i.Form != instance.AllInOne && i.Form != instance.Services {
		wrong("--form %s: want %s or %s", i.Form, instance.AllInOne, instance.Services)
	}
	if i.Store != "" && !strings.HasPrefix(i.Store, "nats://") && !strings.HasPrefix(i.Store, "tls://") {
		wrong("--store %s: want nats://host:port or tls://host:port", i.Store)
	}
	pods, podErr := cidr(i.PodCIDR, 24)
	if podErr != nil {
		wrong("--pod-cidr %s: %w", i.PodCIDR, podErr)
	}
	services, serviceErr := cidr(i.ServiceCIDR, 28)
	if serviceErr != nil {
		wrong("--service-cidr %s: %w", i.ServiceCIDR, serviceErr)
	}
	if podErr == nil && serviceErr == nil && pods.Overlaps(services) {
		wrong("--pod-cidr %s and --service-cidr %s overlap: choose ranges apart", pods, services)
	}
	if podErr == nil && len(i.Further) > 0 && pods.Bits() > 24-bits.Len(uint(i.Nodes-1)) {
		wrong("--pod-cidr %s: it has no ranges of 256 addresses for %d nodes", pods, i.Nodes)
	}
	if _, err := cidr(i.NodeCIDR, 24); err != nil {
		wrong("--node-cidr %s: %w", i.NodeCIDR, err)
	}
	if host := storeHost(i.Store); len(i.Further) > 0 && host.IsLoopback() {
		wrong("--store %s: nodes with a network of their own cannot reach it on the machine's loopback: have it listen on another address", i.Store)
	}
	return problems
}

// storeHost is the address in a store's URL; none where it is empty or has a name.
func storeHost(store string) netip.Addr {
	u, err := url.Parse(store)
	if err != nil {
		return netip.Addr{}
	}
	if u.Hostname() == "localhost" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	a, _ := netip.ParseAddr(u.Hostname())
	return a
}

// cidr reads an IPv4 range that is at least as large as one of most bits.
func cidr(text string, most int) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() {
		return p, errors.New("want an IPv4 range, such as 10.244.0.0/16")
	}
	if p != p.Masked() {
		return p, fmt.Errorf("bits are set beyond the prefix; did you mean %s?", p.Masked())
	}
	if p.Bits() > most || p.Bits() < 8 {
		return p, fmt.Errorf("want a prefix length from 8 to %d", most)
	}
	return p, nil
}

// nodeName holds for a DNS-1123 subdomain, as the API asks of a Node's name.
func nodeName(name string) error {
	const message = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
	if name == "" || len(name) > 63 {
		return errors.New("want 1 to 63 characters")
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New(message)
		}
		for _, c := range label {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return errors.New(message)
			}
		}
	}
	return nil
}

// nodeIP is the address by which others reach this machine: that of the default
// route, or else the first that is not on loopback.
func nodeIP() (string, error) {
	if c, err := net.Dial("udp4", "192.0.2.1:9"); err == nil { // sends nothing
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).IP.String(), nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("looking for this machine's address: %w", err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String(), nil
		}
	}
	return "", errors.New("this machine has no IPv4 address but loopback: give it one and name it with --node-ip")
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "node"
	}
	return name
}
