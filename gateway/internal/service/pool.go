package service

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// The texts are upstream's allocators'.
var (
	errFull          = errors.New("range is full")
	errIPAllocated   = errors.New("provided IP is already allocated")
	errPortAllocated = errors.New("provided port is already allocated")
	errNoRange       = errors.New("the provided network does not match the current range")
)

// Log is what allocation needs of statelog.Log.
type Log interface {
	Commit(ctx context.Context, w statelog.Write) (uint64, error)
	Barrier(ctx context.Context, gr proto.GroupResource) (uint64, error)
	View(gr proto.GroupResource) *statelog.View
}

// pool knows what is free: what nobody has claimed, no Service holds, and no
// write of this process is about to claim. The last only spares lost races.
type pool struct {
	view *statelog.View

	mu       sync.Mutex
	reserved map[proto.Key]bool
}

// take reserves a key; false when somebody has it.
func (p *pool) take(key proto.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reserved[key] || p.view.Get(key.GroupResource, "", key.Name) != nil || p.holder(key) != nil {
		return false
	}
	p.reserved[key] = true
	return true
}

// holder gives a Service that holds a key, or nil.
func (p *pool) holder(key proto.Key) (found *statelog.Entry) {
	p.view.Snapshot(services).ByIndex(holders, key.Name, func(e *statelog.Entry) bool {
		found = e
		return false
	})
	return found
}

// holds says whether one Service holds a key.
func (p *pool) holds(service, key proto.Key) (yes bool) {
	p.view.Snapshot(services).ByIndex(holders, key.Name, func(e *statelog.Entry) bool {
		yes = e.Key() == service
		return !yes
	})
	return yes
}

func (p *pool) giveBack(keys []proto.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		delete(p.reserved, k)
	}
}

// anyAddress reserves an address of a block. As upstream does (KEP-3070), those of
// the lower band are taken only when the others are gone: they are left for users
// who choose. Within a band it begins at a random one.
func (p *pool) anyAddress(b block) (netip.Addr, bool) {
	if ip, ok := p.addressWithin(b.at(b.band), b.last, b.size-b.band); ok {
		return ip, true
	}
	return p.addressWithin(b.first, b.at(b.band).Prev(), b.band)
}

func (p *pool) addressWithin(first, last netip.Addr, count uint64) (netip.Addr, bool) {
	if count == 0 {
		return netip.Addr{}, false
	}
	ip := offset(first, rand.Uint64N(count))
	for range count {
		if p.take(addressKey(ip)) {
			return ip, true
		}
		if ip == last {
			ip = first
		} else {
			ip = ip.Next()
		}
	}
	return netip.Addr{}, false
}

// anyPort reserves a port in the same manner.
func (p *pool) anyPort(first, last int) (int32, bool) {
	size := last - first + 1
	band := lowerBand(size, 16, 32, 128)
	if port, ok := p.portWithin(first+band, size-band); ok {
		return port, true
	}
	return p.portWithin(first, band)
}

func (p *pool) portWithin(first, count int) (int32, bool) {
	if count == 0 {
		return 0, false
	}
	start := rand.IntN(count)
	for n := range count {
		port := int32(first + (start+n)%count)
		if p.take(portKey(port)) {
			return port, true
		}
	}
	return 0, false
}
