package command

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"kubus.dev/cmd/kubus/internal/instance"
)

// upFlags is what the user said; changed tells which flags were given at all.
type upFlags struct {
	dataDir, listen, kubeconfig string
	nodeName, nodeIP            string
	nodes                       int
	podCIDR, serviceCIDR        string
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
	if old == nil || f.changed("nodes") {
		i.Nodes = f.nodes
	}
	if f.changed("sim-nodes") {
		i.SimNodes = f.simNodes
	}
	choose("sim-profile", &i.SimProfile, f.simProfile)
	problems = append(problems, check(i)...)
	problems = append(problems, checkSim(i)...)
	if i.ID == "" {
		i.ID = instance.ID(i.Dir, i.NodeName)
	}
	return i, errors.Join(problems...)
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
	if i.Nodes != 0 && i.Nodes != 1 {
		wrong("--nodes %d: this machine can be one node (1) or none (0)", i.Nodes)
	}
	if err := nodeName(i.NodeName); err != nil {
		wrong("--node-name %q: %w", i.NodeName, err)
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
	return problems
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
