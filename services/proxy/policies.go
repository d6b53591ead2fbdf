package proxy

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/proxy/internal/enforcer"
	"kubus.dev/services/proxy/internal/iptables"
	"kubus.dev/services/proxy/internal/policy"
	"kubus.dev/services/proxy/internal/syncer"
)

// followPolicies tells e of all NetworkPolicies, of this node's range and the DNS, of pods and
// namespaces while there are policies, and runs it until ctx ends.
func followPolicies(ctx context.Context, e *enforcer.Enforcer, node string, c *cluster.Client, logger *zap.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return statelog.Follow(ctx, c.Views.For(policies), policies, func(key proto.Key, entry *statelog.Entry) {
			e.SetPolicy(objectName(key), decode(entry, logger, func(obj *networkingv1.NetworkPolicy) *policy.Policy {
				p, problems := policy.FromObject(obj)
				if len(problems) > 0 {
					logger.Warn("a part of a NetworkPolicy cannot be read and allows nothing", zap.String("namespace", obj.Namespace),
						zap.String("name", obj.Name), zap.Error(errors.Join(problems...)))
				}
				return p
			}))
		}, e.PoliciesKnown)
	})
	group.Go(func() error {
		return statelog.Follow(ctx, c.Views.For(nodes), nodes, func(key proto.Key, entry *statelog.Entry) {
			if key.Name != node {
				return
			}
			var ranges []netip.Prefix
			if list := decode(entry, logger, podRanges); list != nil {
				ranges = *list
			}
			e.SetRanges(ranges)
		}, nil)
	})
	group.Go(func() error {
		dns := map[string][]policy.Server{} // by slice
		return statelog.Follow(ctx, c.Views.For(endpointSlices), endpointSlices, func(key proto.Key, entry *statelog.Entry) {
			if key.Namespace != dnsNamespace {
				return
			}
			before := len(dns[key.Name])
			delete(dns, key.Name)
			if list := decode(entry, logger, dnsServers); list != nil {
				dns[key.Name] = *list
			}
			if before+len(dns[key.Name]) > 0 {
				e.SetDNS(slices.Concat(slices.Collect(maps.Values(dns))...))
			}
		}, nil)
	})
	group.Go(func() error { return followPods(ctx, e, c, logger) })
	group.Go(func() error { return e.Run(ctx) })
	return group.Wait()
}

// lingers is how long pods are followed after the last policy is gone.
const lingers = time.Minute

// followPods tells e of pods and namespaces whenever it needs them.
func followPods(ctx context.Context, e *enforcer.Enforcer, c *cluster.Client, logger *zap.Logger) error {
	for {
		if e.Await(ctx, true) != nil {
			return nil
		}
		if err := followUntilUnwanted(ctx, e, c, logger); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

func followUntilUnwanted(ctx context.Context, e *enforcer.Enforcer, c *cluster.Client, logger *zap.Logger) error {
	logger.Debug("there are NetworkPolicies: pods are followed")
	following, stop := context.WithCancel(ctx)
	defer stop()
	views := c.Also(following, ReadsAtTimes()...)
	group, following := errgroup.WithContext(following)
	known := make(chan struct{}, 2)
	told := func() { known <- struct{}{} }
	group.Go(func() error {
		return statelog.Follow(following, views.For(pods), pods, func(key proto.Key, entry *statelog.Entry) {
			e.SetPod(objectName(key), decode(entry, logger, policy.FromPod))
		}, told)
	})
	group.Go(func() error {
		return statelog.Follow(following, views.For(namespaces), namespaces, func(key proto.Key, entry *statelog.Entry) {
			set := decode(entry, logger, func(obj *corev1.Namespace) *labels.Set {
				set := labels.Set(obj.Labels)
				return &set
			})
			if set == nil {
				e.SetNamespace(key.Name, nil, false)
				return
			}
			e.SetNamespace(key.Name, *set, true)
		}, told)
	})
	group.Go(func() error {
		for range cap(known) {
			select {
			case <-following.Done():
				return nil
			case <-known:
			}
		}
		e.PodsKnown()
		return nil
	})
	group.Go(func() error {
		defer stop()
		for {
			if e.Await(following, false) != nil {
				return nil
			}
			again, cancel := context.WithTimeout(following, lingers)
			err := e.Await(again, true)
			cancel()
			if err != nil {
				return nil
			}
		}
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if views != c.Views {
		err = errors.Join(err, views.Wait())
	}
	e.ForgetPods() // what is told again is told from the beginning
	return err
}

func objectName(key proto.Key) policy.Name {
	return policy.Name{Namespace: key.Namespace, Name: key.Name}
}

// The Service of the cluster's DNS.
const dnsNamespace, dnsService = "kube-system", "kube-dns"

// dnsServers gives where the cluster's DNS answers by a slice, where that is no pod.
func dnsServers(obj *discoveryv1.EndpointSlice) *[]policy.Server {
	if obj.Namespace != dnsNamespace || obj.Labels[discoveryv1.LabelServiceName] != dnsService {
		return nil
	}
	var out []policy.Server
	for i := range obj.Endpoints {
		e := &obj.Endpoints[i]
		if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
			continue
		}
		for _, text := range e.Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil || !addr.Is4() {
				continue
			}
			for _, port := range obj.Ports {
				if port.Port != nil {
					out = append(out, policy.Server{Addr: addr, Protocol: policy.ProtocolOf(port.Protocol), Port: uint16(*port.Port)})
				}
			}
		}
	}
	return &out
}

// podRanges gives where a node's pods have their IPv4 addresses.
func podRanges(n *corev1.Node) *[]netip.Prefix {
	out := []netip.Prefix{}
	list := n.Spec.PodCIDRs
	if len(list) == 0 && n.Spec.PodCIDR != "" {
		list = []string{n.Spec.PodCIDR}
	}
	for _, text := range list {
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
			out = append(out, p.Masked())
		}
	}
	return &out
}

// watch hears of changes that others make to nf_tables. Where the kernel has none there are
// no policies to watch over, which their own writing tells.
func watch(ctx context.Context, tool *iptables.Tool, s *syncer.Syncer, e *enforcer.Enforcer, logger *zap.Logger) error {
	err := tool.Events(ctx, func() {
		if tool.Mode == "nf_tables" {
			s.Disturbed()
		}
		e.Disturbed()
	})
	if err != nil && tool.Mode != "nf_tables" {
		logger.Warn("changes of nf_tables are not heard of", zap.Error(err))
		<-ctx.Done()
		return nil
	}
	return err
}
