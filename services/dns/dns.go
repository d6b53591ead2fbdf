// Package dns is the cluster's DNS server: names of Services, endpoints and pods
// from the state log, other names from the servers it forwards to. It goes on
// answering when the bus and every gateway are gone.
//
// It also keeps the Service kube-system/kube-dns and its own EndpointSlice of it,
// through the API, as the user proto.DNSUser.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/dns/internal/advertise"
	"kubus.dev/services/dns/internal/forward"
	"kubus.dev/services/dns/internal/server"
	"kubus.dev/services/dns/internal/zone"
	"kubus.dev/services/kit"
)

var (
	services       = proto.GroupResource{Resource: "services"}
	namespaces     = proto.GroupResource{Resource: "namespaces"}
	endpointSlices = proto.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

// Reads gives the resources the service reads from the log.
func Reads() []proto.GroupResource {
	return []proto.GroupResource{services, namespaces, endpointSlices}
}

// Run answers until ctx ends. The address is taken at once, so that one in use
// is an error; questions are answered when all objects are known.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	clusterIP, err := netip.ParseAddr(cfg.ClusterIP)
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	z, err := zone.New(zone.Options{
		Domain: cfg.Domain, Server: clusterIP, TTL: uint32(cfg.TTL.Std() / time.Second),
		Reverse: prefixes(cfg.OwnReverse), Serial: uint32(time.Now().Unix()),
	})
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	counts, err := newCounts(p.Metrics)
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	handler := &server.Handler{Zone: z, Forward: forward.New(forward.Options{
		Servers: cfg.Forward, CacheSize: cfg.CacheSize,
		Not: []string{cfg.Address, netip.AddrPortFrom(clusterIP, 53).String()},
	})}
	clients := server.NewClients(prefixes(slices.Concat(cfg.OwnReverse, cfg.Clients)))
	s, err := server.Listen(ctx, cfg.Address, handler, clients, counts, p.Logger)
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	err = serve(ctx, &cfg, p, c, z, clients, s, clusterIP)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serve starts what answers and advertises once the zone is complete.
func serve(ctx context.Context, cfg *Config, p *kit.Process, c *cluster.Client, z *zone.Zone, clients *server.Clients, s *server.Server, clusterIP netip.Addr) error {
	group, ctx := errgroup.WithContext(ctx)
	a := advertiser(cfg, p.Logger, c, s.Addr(), clusterIP)
	f := follower{zone: z, clients: clients, views: c.Views, log: p.Logger, told: make(chan struct{}, 3), advertiser: a}
	complete := make(chan struct{})
	if p.Health != nil {
		p.Health.Ready("zone", func() error {
			select {
			case <-complete:
				return nil
			default:
				return errors.New("the cluster's objects are not all read yet")
			}
		})
	}
	f.start(ctx, group)
	group.Go(func() error {
		for range cap(f.told) {
			select {
			case <-ctx.Done():
				return s.Close()
			case <-f.told:
			}
		}
		close(complete)
		p.Logger.Info("answering", zap.Stringer("address", s.Addr()), zap.Int("names", z.Len()))
		if a != nil {
			group.Go(func() error { return a.Run(ctx) })
		}
		return s.Serve(ctx)
	})
	return group.Wait()
}

// advertiser gives nil when the address is of no use to pods.
func advertiser(cfg *Config, logger *zap.Logger, c *cluster.Client, listening netip.AddrPort, clusterIP netip.Addr) *advertise.Advertiser {
	at := listening
	if cfg.Advertise != "" {
		at, _ = netip.ParseAddrPort(cfg.Advertise) // Validate has read it
	}
	if !advertisable(at) {
		logger.Warn("pods cannot reach this DNS server: its address is not advertised", zap.Stringer("address", at))
		return nil
	}
	o := advertise.Options{ClusterIP: clusterIP, Endpoint: at, Instance: cfg.Instance, Node: cfg.Node}
	return advertise.New(o, c.API.As(proto.DNSUser), func() (*corev1.Service, *discoveryv1.EndpointSlice, error) {
		service, err := get[corev1.Service](c.Views, services, advertise.Name)
		if err != nil {
			return nil, nil, err
		}
		slice, err := get[discoveryv1.EndpointSlice](c.Views, endpointSlices, o.SliceName())
		return service, slice, err
	}, logger)
}

func get[T any](views *statelog.Views, gr proto.GroupResource, name string) (*T, error) {
	e := views.For(gr).Get(gr, advertise.Namespace, name)
	if e == nil {
		return nil, nil
	}
	return statelog.Decode[T](e)
}
