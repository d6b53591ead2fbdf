package service

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// The texts are upstream's allocators'.
var (
	errFull          = errors.New("range is full")
	errIPAllocated   = errors.New("provided IP is already allocated")
	errPortAllocated = errors.New("provided port is already allocated")
)

// allocated indexes Services by what they own: addresses in their usual form,
// ports in decimal.
const allocated = "allocated"

var services = proto.GroupResource{Resource: "services"}

func allocatedOf(e *statelog.Entry) []string {
	svc, err := statelog.Decode[corev1.Service](e)
	if err != nil {
		return nil
	}
	var out []string
	if svc.Spec.Type != corev1.ServiceTypeExternalName {
		for _, ip := range svc.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone {
				out = append(out, ip)
			}
		}
	}
	for i := range svc.Spec.Ports {
		if port := svc.Spec.Ports[i].NodePort; port != 0 {
			out = append(out, strconv.Itoa(int(port)))
		}
	}
	if port := svc.Spec.HealthCheckNodePort; port != 0 {
		out = append(out, strconv.Itoa(int(port)))
	}
	return out
}

// pool knows what is taken: by Services of the view, or by writes in progress.
type pool struct {
	view *statelog.View

	mu     sync.Mutex
	claims map[string]bool
}

// take claims a value; false when somebody has it.
func (p *pool) take(value string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.claims[value] {
		return false
	}
	owned := false
	p.view.Snapshot(services).ByIndex(allocated, value, func(*statelog.Entry) bool {
		owned = true
		return false
	})
	if owned {
		return false
	}
	p.claims[value] = true
	return true
}

func (p *pool) release(values []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range values {
		delete(p.claims, v)
	}
}

// any claims one of count values from the first on, beginning at a random one.
// Those below lower are taken only when the others are gone: they are left for
// users who choose, as upstream does (KEP-3070).
func (p *pool) any(count, lower int, value func(int) string) (int, bool) {
	if count <= 0 {
		return 0, false
	}
	if lower >= count {
		lower = 0
	}
	if i, ok := p.within(lower, count-lower, value); ok {
		return i, true
	}
	return p.within(0, lower, value)
}

func (p *pool) within(first, count int, value func(int) string) (int, bool) {
	if count == 0 {
		return 0, false
	}
	start := rand.IntN(count)
	for n := range count {
		i := first + (start+n)%count
		if p.take(value(i)) {
			return i, true
		}
	}
	return 0, false
}

// claim is what one write has taken.
type claim struct {
	pool   *pool
	lock   *lock // nil for a dry run, which needs no turn
	ctx    context.Context
	locked bool
	err    error // why there is no turn; nothing can be taken then
	values []string
}

// turn makes sure that no other gateway chooses now.
func (c *claim) turn() bool {
	if c.lock == nil || c.locked {
		return true
	}
	if c.err == nil {
		c.err = c.lock.enter(c.ctx)
	}
	c.locked = c.err == nil
	return c.locked
}

func (c *claim) take(value string) bool {
	if !c.turn() || !c.pool.take(value) {
		return false
	}
	c.values = append(c.values, value)
	return true
}

func (c *claim) any(count, lower int, value func(int) string) (int, bool) {
	if !c.turn() {
		return 0, false
	}
	i, ok := c.pool.any(count, lower, value)
	if ok {
		c.values = append(c.values, value(i))
	}
	return i, ok
}

// end gives back what was claimed: after a failure nobody owns it, after a
// success the view says who does.
func (c *claim) end() {
	c.pool.release(c.values)
	if c.locked {
		c.locked = false
		c.lock.leave(c.ctx)
	}
}
