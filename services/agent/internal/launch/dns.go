package launch

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/runtime"
)

// Limits of resolv.conf, as Kubernetes validates them.
const (
	maxNameservers  = 3
	maxSearches     = 32
	maxSearchChars  = 2048
	maxSearchDomain = 253
)

// ClusterDNS is what pods resolve names with.
type ClusterDNS struct {
	Servers []string // cluster DNS addresses; empty: pods use the node's
	Domain  string   // for instance cluster.local
}

// DNS decides a pod's resolver. node is the node's own resolv.conf. warnings are
// sentences for DNSConfigForming Events.
func (d ClusterDNS) DNS(pod *corev1.Pod, node runtime.DNS) (dns runtime.DNS, warnings []string) {
	policy := pod.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && pod.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	switch policy {
	case corev1.DNSNone:
	case corev1.DNSDefault:
		dns = clone(node)
	default:
		if len(d.Servers) == 0 {
			dns = clone(node)
			warnings = append(warnings, fmt.Sprintf("pod: %q. kubelet does not have ClusterDNS IP configured and cannot create Pod using %q policy. Falling back to %q policy.",
				PodName(pod), corev1.DNSClusterFirst, corev1.DNSDefault))
			break
		}
		dns.Servers = slices.Clone(d.Servers)
		dns.Options = []string{"ndots:5"}
		dns.Searches = slices.Clone(node.Searches)
		if d.Domain != "" {
			dns.Searches = unique(append([]string{pod.Namespace + ".svc." + d.Domain, "svc." + d.Domain, d.Domain}, dns.Searches...))
		}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		dns.Servers = unique(append(dns.Servers, c.Nameservers...))
		dns.Searches = unique(append(dns.Searches, c.Searches...))
		dns.Options = mergeOptions(dns.Options, c.Options)
	}
	if len(dns.Servers) > maxNameservers {
		dns.Servers = dns.Servers[:maxNameservers]
		warnings = append(warnings, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(dns.Servers, " "))
	}
	searches, cut := fitSearches(dns.Searches)
	dns.Searches = searches
	if cut {
		warnings = append(warnings, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(searches, " "))
	}
	return dns, warnings
}

func clone(d runtime.DNS) runtime.DNS {
	return runtime.DNS{Servers: slices.Clone(d.Servers), Searches: slices.Clone(d.Searches), Options: slices.Clone(d.Options)}
}

func fitSearches(searches []string) (fit []string, cut bool) {
	chars := 0
	for _, s := range searches {
		if len(fit) == maxSearches || len(s) > maxSearchDomain || chars+len(s)+1 > maxSearchChars {
			cut = true
			continue
		}
		chars += len(s) + 1
		fit = append(fit, s)
	}
	return fit, cut
}

func mergeOptions(options []string, more []corev1.PodDNSConfigOption) []string {
	out := slices.Clone(options)
	for _, o := range more {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		i := slices.IndexFunc(out, func(s string) bool { name, _, _ := strings.Cut(s, ":"); return name == o.Name })
		if i >= 0 {
			out[i] = text
		} else {
			out = append(out, text)
		}
	}
	return out
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// ParseResolvConf reads a resolv.conf; what it does not understand it leaves out.
func ParseResolvConf(data []byte) runtime.DNS {
	var d runtime.DNS
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if len(fields) > 1 {
				d.Servers = append(d.Servers, fields[1])
			}
		case "search":
			d.Searches = nil
			for _, s := range fields[1:] {
				if s != "." {
					d.Searches = append(d.Searches, strings.TrimSuffix(s, "."))
				}
			}
		case "options":
			d.Options = unique(append(d.Options, fields[1:]...))
		}
	}
	return d
}

// FormatResolvConf writes a resolv.conf.
func FormatResolvConf(d runtime.DNS) []byte {
	var b bytes.Buffer
	if len(d.Searches) > 0 {
		b.WriteString("search " + strings.Join(d.Searches, " ") + "\n")
	}
	for _, s := range d.Servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(d.Options) > 0 {
		b.WriteString("options " + strings.Join(d.Options, " ") + "\n")
	}
	return b.Bytes()
}
