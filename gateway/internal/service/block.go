package service

import (
	"math"
	"net/netip"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/api/servicecidr"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/proto/statelog"
)

// block is a range of addresses that may be given out: not the network's own, nor
// the broadcast address of IPv4.
type block struct {
	prefix      netip.Prefix
	first, last netip.Addr
	size        uint64 // capped
	band        uint64 // how many at the beginning are left for static choice
}

func newBlock(prefix netip.Prefix) block {
	prefix = prefix.Masked()
	host := prefix.Addr().BitLen() - prefix.Bits()
	b := block{prefix: prefix, first: prefix.Addr().Next(), size: math.MaxUint64}
	all := uint64(math.MaxUint64)
	if host < 64 {
		all = 1 << host
		b.size = all - 1
	}
	if prefix.Addr().Is4() && b.size > 0 {
		b.size--
	}
	b.last = offset(b.first, max(b.size, 1)-1)
	b.band = uint64(lowerBand(int(min(all, math.MaxInt32)), 16, 16, 256))
	return b
}

// at is the n-th address of the block.
func (b block) at(n uint64) netip.Addr { return offset(b.first, n) }

// offset adds to an address; it wraps around as its bytes do.
func offset(ip netip.Addr, n uint64) netip.Addr {
	bytes := ip.As16()
	for i := 15; i >= 0 && n > 0; i-- {
		sum := uint64(bytes[i]) + n&0xff
		bytes[i] = byte(sum)
		n = n>>8 + sum>>8
	}
	out := netip.AddrFrom16(bytes)
	if ip.Is4() {
		return out.Unmap()
	}
	return out
}

// lowerBand is upstream's share of a range that is left for static choice:
// min(max(least, size/step), most), nothing for small ranges.
func lowerBand(size, least, step, most int) int {
	if size <= least {
		return 0
	}
	return min(max(least, size/step), most)
}

func familyOf(ip netip.Addr) core.IPFamily {
	if ip.Is4() {
		return core.IPv4Protocol
	}
	return core.IPv6Protocol
}

// blocks are those that ServiceCIDRs name; as long as there is no ServiceCIDR,
// those of the configuration.
type blocks struct {
	view       *statelog.View
	configured []block

	mu      sync.Mutex
	decoded map[string]decodedCIDR // by name
}

type decodedCIDR struct {
	entry  *statelog.Entry
	blocks []block
}

func newBlocks(view *statelog.View, prefixes []netip.Prefix) *blocks {
	b := &blocks{view: view, decoded: map[string]decodedCIDR{}}
	for _, p := range prefixes {
		b.configured = append(b.configured, newBlock(p))
	}
	return b
}

// ready lists what may be given out now, of one family.
func (b *blocks) ready(family core.IPFamily) []block {
	all := b.configured
	if snapshot := b.view.Snapshot(serviceCIDRs); snapshot.Len() > 0 {
		all = b.ofCIDRs(snapshot)
	}
	var out []block
	for _, one := range all {
		if familyOf(one.prefix.Addr()) == family && one.size > 0 {
			out = append(out, one)
		}
	}
	return out
}

func (b *blocks) ofCIDRs(snapshot statelog.Snapshot) []block {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := make(map[string]decodedCIDR, snapshot.Len())
	var out []block
	snapshot.Ascend("", func(e *statelog.Entry) bool {
		have, ok := b.decoded[e.Key().Name]
		if !ok || have.entry != e {
			have = decodedCIDR{entry: e, blocks: blocksOf(e)}
		}
		fresh[e.Key().Name] = have
		out = append(out, have.blocks...)
		return true
	})
	b.decoded = fresh
	return out
}

// blocksOf gives the blocks of a ServiceCIDR that is ready. One without the
// condition counts as ready, as upstream has it: its controller may be away.
func blocksOf(e *statelog.Entry) []block {
	cidr, err := statelog.Decode[networkingv1.ServiceCIDR](e)
	if err != nil || cidr.DeletionTimestamp != nil {
		return nil
	}
	for _, c := range cidr.Status.Conditions {
		if c.Type == networkingv1.ServiceCIDRConditionReady && c.Status != metav1.ConditionTrue {
			return nil
		}
	}
	var out []block
	for _, text := range cidr.Spec.CIDRs {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix.Addr().Is6() && prefix.Bits() < 64 {
			continue // validation refuses the first, upstream's allocator the second
		}
		out = append(out, newBlock(prefix))
	}
	return out
}

// contain says whether an address may be given out.
func (b *blocks) contain(ip netip.Addr) bool {
	for _, one := range b.ready(familyOf(ip)) {
		if servicecidr.PrefixContainsIP(one.prefix, ip) {
			return true
		}
	}
	return false
}
