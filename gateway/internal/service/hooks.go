package service

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservice "k8s.io/kubernetes/pkg/api/service"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/proto/statelog"
)

// Options say what may be given out.
type Options struct {
	View      *statelog.View // of Services
	CIDR      netip.Prefix   // IPv4
	FirstPort int
	LastPort  int
	Fences    Fences // nil: there is no other gateway
}

// Hooks run around writes of Services.
type Hooks struct {
	o    Options
	pool *pool
	lock *lock
}

// New registers the index on the view.
func New(o Options) (*Hooks, error) {
	if !o.CIDR.Addr().Is4() || o.CIDR.Bits() > 30 {
		return nil, fmt.Errorf("service range %s: want an IPv4 range of at least four addresses", o.CIDR)
	}
	if o.FirstPort < 1 || o.LastPort > 65535 || o.FirstPort > o.LastPort {
		return nil, fmt.Errorf("node ports %d-%d: no range", o.FirstPort, o.LastPort)
	}
	o.CIDR = o.CIDR.Masked()
	o.View.AddIndex(services, allocated, allocatedOf)
	return &Hooks{o: o, pool: &pool{view: o.View, claims: map[string]bool{}}, lock: newLock(o.Fences, o.View)}, nil
}

// BeginCreate completes a new Service. The finish function is called once, when
// the write is done or has failed.
func (h *Hooks) BeginCreate(ctx context.Context, obj runtime.Object, dryRun bool) (func(bool), error) {
	svc, ok := obj.(*core.Service)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("a hook of Services was given a %T", obj))
	}
	if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
		svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	}
	dropExternal(svc)
	return h.transaction(ctx, dryRun, func(c *claim) error {
		if err := initFamilies(svc, nil); err != nil {
			return err
		}
		if err := h.addresses(svc, c); err != nil {
			return err
		}
		if hasNodePorts(svc) {
			if err := h.newPorts(svc, c); err != nil {
				return err
			}
		}
		if apiservice.NeedsHealthCheck(svc) {
			return h.healthPort(svc, c)
		}
		return nil
	})
}

// dropExternal takes away what an external name has no use for; upstream does not
// show it.
func dropExternal(svc *core.Service) {
	if svc.Spec.Type == core.ServiceTypeExternalName {
		svc.Spec.InternalTrafficPolicy = nil
	}
}

// BeginUpdate completes a changed Service.
func (h *Hooks) BeginUpdate(ctx context.Context, obj, oldObj runtime.Object, dryRun bool) (func(bool), error) {
	svc, ok := obj.(*core.Service)
	old, okOld := oldObj.(*core.Service)
	if !ok || !okOld {
		return nil, apierrors.NewInternalError(fmt.Errorf("a hook of Services was given a %T and a %T", obj, oldObj))
	}
	keepAllocated(svc, old)
	alignClusterIPs(svc, old)
	dropExternal(svc)
	return h.transaction(ctx, dryRun, func(c *claim) error {
		if err := initFamilies(svc, old); err != nil {
			return err
		}
		if old.Spec.Type == core.ServiceTypeExternalName && svc.Spec.Type != core.ServiceTypeExternalName {
			if err := h.addresses(svc, c); err != nil {
				return err
			}
		}
		if hasNodePorts(svc) {
			if err := h.changedPorts(svc, old, c); err != nil {
				return err
			}
		}
		if apiservice.NeedsHealthCheck(svc) && !apiservice.NeedsHealthCheck(old) {
			return h.healthPort(svc, c)
		}
		return nil
	})
}

func (h *Hooks) transaction(ctx context.Context, dryRun bool, allocate func(*claim) error) (func(bool), error) {
	c := &claim{pool: h.pool, ctx: ctx}
	if !dryRun {
		c.lock = h.lock
	}
	err := allocate(c)
	if c.err != nil {
		err = apierrors.NewServiceUnavailable(c.err.Error())
	}
	if err != nil {
		c.end()
		return nil, err
	}
	if dryRun {
		c.end()
		return func(bool) {}, nil
	}
	return func(bool) { c.end() }, nil
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

// addresses gives the cluster IP that a Service has not, or claims the one it asks for.
func (h *Hooks) addresses(svc *core.Service, c *claim) error {
	if svc.Spec.Type == core.ServiceTypeExternalName || len(svc.Spec.ClusterIPs) > 0 && svc.Spec.ClusterIPs[0] == core.ClusterIPNone {
		return nil
	}
	if len(svc.Spec.ClusterIPs) > 0 && svc.Spec.ClusterIPs[0] != "" {
		return h.address(svc, c, svc.Spec.ClusterIPs[0])
	}
	// Neither the network's address nor the last one is given out.
	size := 1<<(32-h.o.CIDR.Bits()) - 2
	i, ok := c.any(size, lowerBand(size+2, 16, 16, 256), func(i int) string { return h.nth(i + 1).String() })
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", svc.Name, errFull))
	}
	svc.Spec.ClusterIP = h.nth(i + 1).String()
	svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	return nil
}

func (h *Hooks) address(svc *core.Service, c *claim, text string) error {
	path := field.NewPath("spec", "clusterIPs")
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to parse service IP %q", text))
	}
	if !h.o.CIDR.Contains(ip) || ip == h.o.CIDR.Addr() || ip == h.nth(1<<(32-h.o.CIDR.Bits())-1) {
		return invalid(svc, path, svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: the provided IP (%s) is not in the valid range. The range of valid IPs is %s", text, text, h.o.CIDR))
	}
	if !c.take(ip.String()) {
		return invalid(svc, path, svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %v", text, errIPAllocated))
	}
	return nil
}

// nth is an address of the range by its number.
func (h *Hooks) nth(n int) netip.Addr {
	a := h.o.CIDR.Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// lowerBand is upstream's share of a range that is left for static choice:
// min(max(least, size/step), most), nothing for small ranges.
func lowerBand(size, least, step, most int) int {
	if size <= least {
		return 0
	}
	return min(max(least, size/step), most)
}

func (h *Hooks) anyPort(c *claim) (int32, error) {
	size := h.o.LastPort - h.o.FirstPort + 1
	i, ok := c.any(size, lowerBand(size, 16, 32, 128), func(i int) string { return strconv.Itoa(h.o.FirstPort + i) })
	if !ok {
		return 0, errFull
	}
	return int32(h.o.FirstPort + i), nil
}

// port claims a port that was asked for.
func (h *Hooks) port(c *claim, port int32) error {
	if int(port) < h.o.FirstPort || int(port) > h.o.LastPort {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", h.o.FirstPort, h.o.LastPort)
	}
	if !c.take(strconv.Itoa(int(port))) {
		return errPortAllocated
	}
	return nil
}

func portPath(i int) *field.Path { return field.NewPath("spec", "ports").Index(i).Child("nodePort") }

// newPorts gives a new Service its node ports. Ports with the same number (TCP
// and UDP) share one.
func (h *Hooks) newPorts(svc *core.Service, c *claim) error {
	given := map[int32]int32{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.NodePort == 0 && !wantsNodePorts(svc) {
			continue
		}
		have, ok := given[p.Port]
		switch {
		case !ok:
			want := askedFor(p.Port, svc.Spec.Ports)
			if want != 0 {
				if err := h.port(c, want); err != nil {
					return invalid(svc, portPath(i), want, err.Error())
				}
			} else {
				var err error
				if want, err = h.anyPort(c); err != nil {
					return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
				}
			}
			p.NodePort, given[p.Port] = want, want
		case p.NodePort == 0:
			p.NodePort = have
		case p.NodePort != have:
			if err := h.port(c, p.NodePort); err != nil {
				return invalid(svc, portPath(i), p.NodePort, err.Error())
			}
		}
	}
	return nil
}

func askedFor(port int32, ports []core.ServicePort) int32 {
	for i := range ports {
		if ports[i].Port == port && ports[i].NodePort != 0 {
			return ports[i].NodePort
		}
	}
	return 0
}

// changedPorts gives the node ports that an update adds.
func (h *Hooks) changedPorts(svc, old *core.Service, c *claim) error {
	type portOf struct {
		protocol core.Protocol
		port     int32
	}
	mine := map[int32]bool{}
	for i := range old.Spec.Ports {
		mine[old.Spec.Ports[i].NodePort] = true
	}
	seen := map[portOf]bool{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		switch {
		case p.NodePort == 0 && !wantsNodePorts(svc):
			continue
		case p.NodePort == 0:
			port, err := h.anyPort(c)
			if err != nil {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
			}
			p.NodePort = port
			mine[port] = true
		case !mine[p.NodePort]:
			if err := h.port(c, p.NodePort); err != nil {
				return invalid(svc, portPath(i), p.NodePort, err.Error())
			}
			mine[p.NodePort] = true
		}
		if key := (portOf{p.Protocol, p.NodePort}); seen[key] {
			return fmt.Errorf("duplicate nodePort: %v", p.NodePort)
		} else {
			seen[key] = true
		}
	}
	return nil
}

func (h *Hooks) healthPort(svc *core.Service, c *claim) error {
	if want := svc.Spec.HealthCheckNodePort; want != 0 {
		if err := h.port(c, want); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", want, err))
		}
		return nil
	}
	port, err := h.anyPort(c)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %w", port, err))
	}
	svc.Spec.HealthCheckNodePort = port
	return nil
}
