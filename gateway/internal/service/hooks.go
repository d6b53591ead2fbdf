package service

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/request"
	apiservice "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Options say what may be given out.
type Options struct {
	Log Log
	// CIDRs are the ranges of the configuration: one, or one of each family. The
	// first one's family is the default.
	CIDRs     []netip.Prefix
	FirstPort int
	LastPort  int
	// Grace is how long a claim without its Service is left alone; 0 is upstream's
	// minute. It spares writes that are under way a second attempt; nothing else
	// depends on it.
	Grace  time.Duration
	Logger *zap.Logger
}

// Hooks run around writes of Services.
type Hooks struct {
	o        Options
	log      Log
	view     *statelog.View
	pool     *pool
	blocks   *blocks
	families families
	suspects *suspects
}

// New registers the index on the view.
func New(o Options) (*Hooks, error) {
	if o.FirstPort < 1 || o.LastPort > 65535 || o.FirstPort > o.LastPort {
		return nil, fmt.Errorf("node ports %d-%d: no range", o.FirstPort, o.LastPort)
	}
	h := &Hooks{o: o, log: o.Log, view: o.Log.View(services), suspects: newSuspects()}
	for _, prefix := range o.CIDRs {
		family := familyOf(prefix.Addr())
		if h.families.has(family) || prefix.Addr().Is6() && prefix.Bits() < 64 || newBlock(prefix).size == 0 {
			return nil, fmt.Errorf("service range %s: want one of each family at most, of more than two addresses, IPv6 not larger than a /64", prefix)
		}
		h.families = append(h.families, family)
	}
	if len(h.families) == 0 {
		return nil, fmt.Errorf("no service range")
	}
	if h.o.Grace == 0 {
		h.o.Grace = time.Minute
	}
	h.view.AddIndex(services, holders, holderNames)
	h.pool = &pool{view: h.view, reserved: map[proto.Key]bool{}}
	h.blocks = newBlocks(h.view, o.CIDRs)
	return h, nil
}

// BeginCreate completes a new Service and gives the claims to write before it. The
// finish function, when not nil, is called once, with what became of the write.
func (h *Hooks) BeginCreate(ctx context.Context, obj runtime.Object, dryRun bool) ([]statelog.Write, func(error), error) {
	svc, ok := obj.(*core.Service)
	if !ok {
		return nil, nil, wrongType(obj)
	}
	if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	dropExternal(svc)
	if svc.Namespace == "" { // a strategy sets it later
		svc.Namespace = request.NamespaceValue(ctx)
	}
	d, err := h.allocate(ctx, svc, func(svc *core.Service, d *draft) error {
		if err := h.families.init(svc, nil); err != nil {
			return err
		}
		if err := h.newAddresses(svc, d); err != nil {
			return err
		}
		if hasNodePorts(svc) {
			if err := h.newPorts(svc, d); err != nil {
				return err
			}
		}
		if apiservice.NeedsHealthCheck(svc) {
			return h.healthPort(svc, d)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if dryRun {
		d.end()
		return nil, nil, nil
	}
	return h.begin(ctx, serviceKey(svc.Namespace, svc.Name), d, func() {})
}

// BeginUpdate is BeginCreate for a changed Service. What it gave up is released once
// it is written.
func (h *Hooks) BeginUpdate(ctx context.Context, obj, oldObj runtime.Object, dryRun bool) ([]statelog.Write, func(error), error) {
	svc, ok := obj.(*core.Service)
	old, okOld := oldObj.(*core.Service)
	if !ok || !okOld {
		return nil, nil, wrongType(obj, oldObj)
	}
	keepAllocated(svc, old)
	alignClusterIPs(svc, old)
	dropExternal(svc)
	self := serviceKey(old.Namespace, old.Name)
	d, err := h.allocate(ctx, svc, func(svc *core.Service, d *draft) error {
		if err := h.families.init(svc, old); err != nil {
			return err
		}
		if err := h.changedAddresses(svc, old, d); err != nil {
			return err
		}
		if hasNodePorts(svc) {
			if err := h.changedPorts(svc, old, d); err != nil {
				return err
			}
		}
		if apiservice.NeedsHealthCheck(svc) && !apiservice.NeedsHealthCheck(old) {
			return h.healthPort(svc, d)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if dryRun {
		d.end()
		return nil, nil, nil
	}
	before := h.claimsOf(self, held(old), math.MaxUint64)
	return h.begin(ctx, self, d, func() { h.release(ctx, self, without(before, held(svc))) })
}

// AfterDelete releases what a deleted Service held. Its resourceVersion is that of
// the deletion: a claim of that name that is younger is somebody else's.
func (h *Hooks) AfterDelete(ctx context.Context, obj runtime.Object, dryRun bool) {
	svc, ok := obj.(*core.Service)
	if !ok || dryRun {
		return
	}
	gone, err := strconv.ParseUint(svc.ResourceVersion, 10, 64)
	if err != nil {
		return // Repair finds it
	}
	self := serviceKey(svc.Namespace, svc.Name)
	h.release(ctx, self, h.claimsOf(self, held(svc), gone))
}

// dropExternal takes away what an external name has no use for; upstream does not
// show it.
func dropExternal(svc *core.Service) {
	if svc.Spec.Type == core.ServiceTypeExternalName {
		svc.Spec.InternalTrafficPolicy = nil
	}
}

func hasNodePorts(svc *core.Service) bool {
	return svc.Spec.Type == core.ServiceTypeNodePort || svc.Spec.Type == core.ServiceTypeLoadBalancer
}

func wantsNodePorts(svc *core.Service) bool {
	if svc.Spec.Type == core.ServiceTypeLoadBalancer {
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return svc.Spec.Type == core.ServiceTypeNodePort
}

func invalid(svc *core.Service, path *field.Path, value any, detail string) error {
	return apierrors.NewInvalid(core.Kind("Service"), svc.Name, field.ErrorList{field.Invalid(path, value, detail)})
}
