// Package proxy makes the addresses of Services work on one node: it reads
// Services and EndpointSlices from the state log and keeps iptables rules that
// lead each address to the endpoints. It needs no gateway, writes no object, and
// leaves its rules in place when it stops, so that a restart is not felt. From Nodes it
// keeps the routes to their pods. While there are NetworkPolicies it reads pods and
// namespaces, too, and keeps a table of nftables that enforces them.
//
// Run is the service; Purge takes away all that an instance changed on the host.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
	"kubus.dev/services/proxy/internal/conntrack"
	"kubus.dev/services/proxy/internal/enforcer"
	"kubus.dev/services/proxy/internal/health"
	"kubus.dev/services/proxy/internal/iptables"
	"kubus.dev/services/proxy/internal/nft"
	"kubus.dev/services/proxy/internal/route"
	"kubus.dev/services/proxy/internal/rule"
	"kubus.dev/services/proxy/internal/service"
	"kubus.dev/services/proxy/internal/syncer"
	"kubus.dev/services/proxy/internal/sysctl"
)

var (
	services       = proto.GroupResource{Resource: "services"}
	endpointSlices = proto.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
	nodes          = proto.GroupResource{Resource: "nodes"}
	policies       = proto.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}
	pods           = proto.GroupResource{Resource: "pods"}
	namespaces     = proto.GroupResource{Resource: "namespaces"}
)

// Reads gives the resources the service always reads from the log.
func Reads() []proto.GroupResource {
	return []proto.GroupResource{services, endpointSlices, nodes, policies}
}

// ReadsAtTimes gives those that it reads while there are NetworkPolicies.
func ReadsAtTimes() []proto.GroupResource { return []proto.GroupResource{pods, namespaces} }

// Run keeps the rules until ctx ends. It works in the network namespace of the
// process and returns at once with an error that says what to do when iptables
// or the right to use it is missing.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	tool, err := prepare(ctx, &cfg, p.Logger)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	metrics, err := newMetrics(p.Metrics)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	checks := health.NewServer(p.Logger)
	defer checks.Close()
	s := syncer.New(syncer.Options{
		Node: cfg.Node, Rules: cfg.rules(tool.HasRecent(ctx, rule.Prefix(cfg.Instance))),
		Guard: func() *service.Guard { return guard(&cfg) }, MinInterval: cfg.MinSyncInterval.Std(), Kernel: tool, Clean: conntrack.Clean, Health: checks,
		Logger: p.Logger, Observe: metrics.observe,
	})
	e := enforcer.New(enforcer.Options{
		Node: cfg.Node, Kernel: nft.New(nft.Name(rule.Prefix(cfg.Instance)), tool.Ran), MinInterval: cfg.MinSyncInterval.Std(),
		Logger: p.Logger, Observe: metrics.enforced,
	})
	if p.Health != nil {
		p.Health.Ready("rules", s.State)
		p.Health.Ready("policies", e.State)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return follow(ctx, s, c.Views, p.Logger) })
	group.Go(func() error { return followPolicies(ctx, e, cfg.Node, c, p.Logger) })
	group.Go(func() error { return watch(ctx, tool, s, e, p.Logger) })
	if o, ok := cfg.routes(p.Logger); ok {
		group.Go(func() error { return followNodes(ctx, route.New(o), c.Views, p.Logger) })
	}
	err = group.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// prepare checks the tools and sets what the kernel needs.
func prepare(ctx context.Context, cfg *Config, logger *zap.Logger) (*iptables.Tool, error) {
	tool, err := iptables.Find()
	if err != nil {
		return nil, err
	}
	if err := overlap(ctx, tool, cfg); err != nil {
		logger.Warn("Services of two clusters may be confused", zap.Error(err))
	}
	if err := sysctl.Apply(cfg.DataDir, sysctl.Needed); err != nil {
		return nil, err
	}
	logger.Info("iptables found", zap.String("version", tool.Version), zap.String("mode", tool.Mode))
	return tool, nil
}

// follow tells s of all objects, starts it when it knows what there is, and goes
// on until ctx ends.
func follow(ctx context.Context, s *syncer.Syncer, views *statelog.Views, logger *zap.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	const resources = 3
	known := make(chan struct{}, resources) // one of each
	told := func() { known <- struct{}{} }
	group.Go(func() error {
		return statelog.Follow(ctx, views.For(services), services, func(key proto.Key, e *statelog.Entry) {
			s.SetService(name(key), decode(e, logger, service.FromObject))
		}, told)
	})
	group.Go(func() error {
		return statelog.Follow(ctx, views.For(endpointSlices), endpointSlices, func(key proto.Key, e *statelog.Entry) {
			s.SetSlice(name(key), decode(e, logger, service.FromSliceObject))
		}, told)
	})
	group.Go(func() error {
		return statelog.Follow(ctx, views.For(nodes), nodes, func(key proto.Key, e *statelog.Entry) {
			var addrs []netip.Addr
			if list := decode(e, logger, addresses); list != nil {
				addrs = *list
			}
			s.SetNode(key.Name, addrs)
		}, told)
	})
	group.Go(func() error { return recheck(ctx, s) })
	group.Go(func() error {
		for range resources {
			select {
			case <-ctx.Done():
				return nil
			case <-known:
			}
		}
		return s.Run(ctx)
	})
	return group.Wait()
}

// recheckEvery is how long an address or a port that became another's stays a Service's.
const recheckEvery = 30 * time.Second

// recheck has what Services may have judged anew from time to time: addresses come to the
// machine, and programs to its ports.
func recheck(ctx context.Context, s *syncer.Syncer) error {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.Recheck()
		}
	}
}

// addresses gives those of a node, sorted.
func addresses(n *corev1.Node) *[]netip.Addr {
	var out []netip.Addr
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			out = append(out, ip.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return &out
}

// followNodes tells the keeper of routes of all nodes, starts it when it knows what there is,
// and goes on until ctx ends.
func followNodes(ctx context.Context, k *route.Keeper, views *statelog.Views, logger *zap.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	known := make(chan struct{})
	group.Go(func() error {
		return statelog.Follow(ctx, views.For(nodes), nodes, func(key proto.Key, e *statelog.Entry) {
			k.Set(key.Name, decode(e, logger, route.FromObject))
		}, func() { close(known) })
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-known:
			return k.Run(ctx)
		}
	})
	return group.Wait()
}

func name(key proto.Key) service.Name { return service.Name{Namespace: key.Namespace, Name: key.Name} }

// decode gives what the proxy keeps of an entry; nil for one that is gone or not
// its business. An entry that cannot be read counts as gone: it must not stop
// the others.
func decode[T corev1.Service | discoveryv1.EndpointSlice | corev1.Node | corev1.Pod | corev1.Namespace | networkingv1.NetworkPolicy, K any](e *statelog.Entry, logger *zap.Logger, from func(*T) *K) *K {
	if e == nil {
		return nil
	}
	obj, err := statelog.Decode[T](e)
	if err != nil {
		logger.Error("object left out", zap.Stringer("key", e.Key()), zap.Error(err))
		return nil
	}
	return from(obj)
}

// Preflight says what would keep a proxy of this configuration from working: no
// root, no iptables, or a service range that another cluster on this host has.
func Preflight(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	tool, err := iptables.Find()
	if err != nil {
		return err
	}
	return overlap(ctx, tool, &cfg)
}

func overlap(ctx context.Context, tool *iptables.Tool, cfg *Config) error {
	others, err := tool.ServiceRanges(ctx, rule.Prefix(cfg.Instance))
	if err != nil {
		return err
	}
	var problems []error
	for _, other := range others {
		for _, own := range cfg.serviceCIDRs() {
			if own.Overlaps(other.Range) {
				problems = append(problems, fmt.Errorf(
					"the service range %s overlaps %s of another cluster on this host (iptables chains %s*): choose another --service-cidr, or remove the other with kubus down --purge",
					own, other.Range, other.Prefix))
			}
		}
	}
	return errors.Join(problems...)
}

// Purge removes every chain and rule of the instance of that configuration, its table of
// policies, its routes, a table that nothing else is left in, and puts back the sysctls that the instance changed.
// Other instances and other programs' rules are untouched. Nothing to do is no error.
func Purge(ctx context.Context, cfg Config, logger *zap.Logger) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("purging the proxy: %w", err)
	}
	tools, err := iptables.All()
	if errors.Is(err, iptables.ErrMissing) {
		tools, err = nil, nil // without the tool there are no rules of ours
	}
	for _, tool := range tools {
		n, purgeErr := tool.Purge(ctx, rule.Prefix(cfg.Instance))
		err = errors.Join(err, purgeErr)
		if n > 0 {
			logger.Info("chains removed", zap.Int("chains", n), zap.String("mode", tool.Mode))
		}
	}
	err = errors.Join(err, nft.New(nft.Name(rule.Prefix(cfg.Instance)), nil).Remove(ctx))
	if o, ok := cfg.routes(logger); ok {
		err = errors.Join(err, route.Purge(o.Cluster, device(cfg.Instance)))
	}
	err = errors.Join(err, sysctl.Restore(cfg.DataDir))
	if err != nil {
		return fmt.Errorf("purging the proxy: %w", err)
	}
	return nil
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
