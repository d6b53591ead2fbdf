package dns

import (
	"context"
	"net/netip"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/dns/internal/advertise"
	"kubus.dev/services/dns/internal/server"
	"kubus.dev/services/dns/internal/zone"
)

// follower tells the zone of the log's objects.
type follower struct {
	zone       *zone.Zone
	clients    *server.Clients
	views      *statelog.Views
	log        *zap.Logger
	told       chan struct{} // one for each resource that was read; has room for all
	advertiser *advertise.Advertiser
}

func (f *follower) start(ctx context.Context, group *errgroup.Group) {
	follow := func(gr proto.GroupResource, onChange func(proto.Key, *statelog.Entry)) {
		group.Go(func() error {
			return statelog.Follow(ctx, f.views.For(gr), gr, onChange, func() { f.told <- struct{}{} })
		})
	}
	follow(services, func(key proto.Key, e *statelog.Entry) {
		f.zone.SetService(name(key), decode(e, f.log, zone.FromService))
		f.touch(key)
	})
	follow(endpointSlices, func(key proto.Key, e *statelog.Entry) {
		slice := decode(e, f.log, zone.FromSlice)
		f.zone.SetSlice(name(key), slice)
		f.clients.SetNodes(key.Namespace+"/"+key.Name, nodes(slice))
		f.touch(key)
	})
	follow(namespaces, func(key proto.Key, e *statelog.Entry) {
		f.zone.SetNamespace(key.Name, e != nil)
		f.touch(proto.Key{Namespace: key.Name})
	})
}

// nodes gives the addresses of nodes that a slice tells: those at which the cluster's DNS and its API are.
func nodes(s *zone.Slice) []netip.Addr {
	if s == nil || s.Service != (zone.Key{Namespace: advertise.Namespace, Name: advertise.Name}) && s.Service != api {
		return nil
	}
	out := make([]netip.Addr, 0, len(s.Endpoints))
	for _, e := range s.Endpoints {
		out = append(out, e.Addr)
	}
	return out
}

// api is the Service of the API servers themselves.
var api = zone.Key{Namespace: "default", Name: "kubernetes"}

// touch passes on what concerns the DNS Service itself.
func (f *follower) touch(key proto.Key) {
	if f.advertiser != nil && key.Namespace == advertise.Namespace {
		f.advertiser.Touch()
	}
}

func name(key proto.Key) zone.Key { return zone.Key{Namespace: key.Namespace, Name: key.Name} }

// decode gives what the zone keeps of an entry; nil for one that is gone or has
// no records. One that cannot be read counts as gone: it must not stop the others.
func decode[T corev1.Service | discoveryv1.EndpointSlice, K any](e *statelog.Entry, logger *zap.Logger, from func(*T) *K) *K {
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
