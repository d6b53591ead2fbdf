package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/services/proxy/internal/policy"
)

// World is what decisions about connections are made from.
type World struct {
	Nodes      []corev1.Node
	Namespaces []corev1.Namespace
	Pods       []corev1.Pod
	Services   []corev1.Service
	Slices     []discoveryv1.EndpointSlice
	Policies   []networkingv1.NetworkPolicy
}

// Answer says whether a connection may be.
type Answer struct {
	Allowed bool
	// Reasons, a line each: first of the sender's policies, then of the receiver's.
	Reasons []string
	// Notes are about what was asked, rather than the answer.
	Notes []string
}

// Check tells, as the proxies of a cluster decide, whether from may connect to a port of to:
// each an address, or a pod as namespace/name; the port is a number, or a name that the
// receiving pod has, and may have "/udp" or "/sctp" behind it.
func Check(w *World, from, to, port string) (Answer, error) {
	c := policy.NewCluster()
	var a Answer
	for i := range w.Nodes {
		if list := addresses(&w.Nodes[i]); list != nil {
			c.SetNode(w.Nodes[i].Name, *list)
		}
	}
	var dns []policy.Server
	for i := range w.Slices {
		if list := dnsServers(&w.Slices[i]); list != nil {
			dns = append(dns, *list...)
		}
	}
	c.SetDNS(dns)
	for i := range w.Namespaces {
		c.SetNamespace(w.Namespaces[i].Name, labels.Set(w.Namespaces[i].Labels), true)
	}
	for i := range w.Pods {
		c.SetPod(policy.Name{Namespace: w.Pods[i].Namespace, Name: w.Pods[i].Name}, policy.FromPod(&w.Pods[i]))
	}
	for i := range w.Policies {
		p, problems := policy.FromObject(&w.Policies[i])
		for _, problem := range problems {
			a.Notes = append(a.Notes, fmt.Sprintf("policy %s: %v: that part allows nothing", p.Name, problem))
		}
		c.SetPolicy(p.Name, p)
	}
	sender, err1 := w.end(c, from, &a)
	receiver, err2 := w.end(c, to, &a)
	protocol, number, err3 := portOf(port, receiver)
	if err := errors.Join(err1, err2, err3); err != nil {
		return a, err
	}
	d := c.Decide(sender, receiver, protocol, number)
	a.Allowed = d.Allowed
	if d.Free != "" {
		a.Reasons = []string{d.Free}
		return a, nil
	}
	a.Reasons = []string{
		"egress of " + from + ": " + d.Verdict[policy.Egress].String(),
		"ingress of " + to + ": " + d.Verdict[policy.Ingress].String(),
	}
	return a, nil
}

// end finds who is meant.
func (w *World) end(c *policy.Cluster, text string, a *Answer) (policy.End, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		for i := range w.Services {
			if s := &w.Services[i]; s.Spec.ClusterIP == text {
				a.Notes = append(a.Notes, fmt.Sprintf("%s is the Service %s/%s: policies see its endpoints, ask about those", text, s.Namespace, s.Name))
			}
		}
		return c.End(addr.Unmap()), nil
	}
	namespace, name, ok := strings.Cut(text, "/")
	if !ok {
		return policy.End{}, fmt.Errorf("%q is neither an address nor a pod as namespace/name", text)
	}
	if p := c.Pod(policy.Name{Namespace: namespace, Name: name}); p != nil {
		return policy.End{Addr: p.Addr, Pod: p}, nil
	}
	for i := range w.Pods {
		p := &w.Pods[i]
		switch {
		case p.Namespace != namespace || p.Name != name:
		case p.Spec.HostNetwork && p.Status.HostIP != "":
			a.Notes = append(a.Notes, fmt.Sprintf("pod %s is on its node's network: policies see the node's address, %s", text, p.Status.HostIP))
			addr, err := netip.ParseAddr(p.Status.HostIP)
			return c.End(addr), err
		default:
			return policy.End{}, fmt.Errorf("pod %s has no address: it is %s", text, p.Status.Phase)
		}
	}
	return policy.End{}, fmt.Errorf("there is no pod %s", text)
}

func portOf(text string, receiver policy.End) (policy.Protocol, uint16, error) {
	name, suffix, has := strings.Cut(text, "/")
	protocol := policy.TCP
	if has {
		protocol = policy.Protocol(strings.ToLower(suffix))
	}
	if protocol != policy.TCP && protocol != policy.UDP && protocol != policy.SCTP {
		return "", 0, fmt.Errorf("%q is none of tcp, udp and sctp", suffix)
	}
	if number, err := strconv.ParseUint(name, 10, 16); err == nil && number > 0 {
		return protocol, uint16(number), nil
	}
	if receiver.Pod != nil {
		if number, ok := receiver.Pod.Port(name, protocol); ok {
			return protocol, number, nil
		}
	}
	return "", 0, fmt.Errorf("%q is neither a port from 1 to 65535 nor a name that the receiving pod gives one of its %s ports", name, protocol)
}
