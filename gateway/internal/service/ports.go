package service

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
)

func (h *Hooks) anyPort(d *draft) (int32, error) {
	port, ok := h.pool.anyPort(h.o.FirstPort, h.o.LastPort)
	if !ok {
		d.doubt = true
		return 0, errFull
	}
	d.keys = append(d.keys, portKey(port))
	return port, nil
}

// port takes a port that was asked for.
func (h *Hooks) port(d *draft, port int32) error {
	if int(port) < h.o.FirstPort || int(port) > h.o.LastPort {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", h.o.FirstPort, h.o.LastPort)
	}
	if !d.take(portKey(port)) {
		return errPortAllocated
	}
	return nil
}

func portPath(i int) *field.Path { return field.NewPath("spec", "ports").Index(i).Child("nodePort") }

// newPorts gives a new Service its node ports. Ports with the same number (TCP
// and UDP) share one.
func (h *Hooks) newPorts(svc *core.Service, d *draft) error {
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
				if err := h.port(d, want); err != nil {
					return invalid(svc, portPath(i), want, err.Error())
				}
			} else {
				var err error
				if want, err = h.anyPort(d); err != nil {
					return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
				}
			}
			p.NodePort, given[p.Port] = want, want
		case p.NodePort == 0:
			p.NodePort = have
		case p.NodePort != have:
			if err := h.port(d, p.NodePort); err != nil {
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
func (h *Hooks) changedPorts(svc, old *core.Service, d *draft) error {
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
			port, err := h.anyPort(d)
			if err != nil {
				return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
			}
			p.NodePort = port
			mine[port] = true
		case !mine[p.NodePort]:
			if err := h.port(d, p.NodePort); err != nil {
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

func (h *Hooks) healthPort(svc *core.Service, d *draft) error {
	if want := svc.Spec.HealthCheckNodePort; want != 0 {
		if err := h.port(d, want); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", want, err))
		}
		return nil
	}
	port, err := h.anyPort(d)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %w", port, err))
	}
	svc.Spec.HealthCheckNodePort = port
	return nil
}
