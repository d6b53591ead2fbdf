package filter

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"kubus.dev/services/proxy/internal/policy"
)

// span is a range of numbers, both ends in it.
type span struct{ from, to uint32 }

// merge gives the same numbers in order, in as few spans as there can be.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && uint64(s.from) <= uint64(out[n-1].to)+1 {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

// without takes spans out of one.
func without(all span, except []span) []span {
	var out []span
	from := uint64(all.from)
	for _, e := range merge(slices.Clone(except)) {
		if e.to < all.from || e.from > all.to {
			continue
		}
		if uint64(e.from) > from {
			out = append(out, span{uint32(from), e.from - 1})
		}
		from = max(from, uint64(e.to)+1)
	}
	if from <= uint64(all.to) {
		out = append(out, span{uint32(from), all.to})
	}
	return out
}

// blocks gives the IPv4 addresses of all blocks among peers.
func blocks(peers []policy.Peer) []string {
	var spans []span
	for _, p := range peers {
		if p.Block == nil || !p.Block.Range.Addr().Is4() {
			continue
		}
		var except []span
		for _, e := range p.Block.Except {
			if e.Addr().Is4() {
				except = append(except, spanOf(e))
			}
		}
		spans = append(spans, without(spanOf(p.Block.Range), except)...)
	}
	var out []string
	for _, s := range merge(spans) {
		out = append(out, text(address(s.from), address(s.to)))
	}
	return out
}

func spanOf(p netip.Prefix) span {
	a := p.Masked().Addr().As4()
	from := binary.BigEndian.Uint32(a[:])
	return span{from, from | uint32(uint64(1)<<(32-p.Bits())-1)}
}

func address(n uint32) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a)
}

// ports gives the numbers of each protocol among ports; a protocol with all of them has none
// to tell.
func ports(list []policy.Port) map[policy.Protocol][]string {
	spans := map[policy.Protocol][]span{}
	for _, p := range list {
		if p.Name == "" {
			spans[p.Protocol] = append(spans[p.Protocol], span{uint32(p.From), uint32(p.To)})
		}
	}
	out := map[policy.Protocol][]string{}
	for protocol, s := range spans {
		out[protocol] = nil
		if s = merge(s); s[0] == (span{0, 65535}) {
			continue
		}
		for _, s := range s {
			out[protocol] = append(out[protocol], text(s.from, s.to))
		}
	}
	return out
}

func text[T comparable](from, to T) string {
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%v-%v", from, to)
}
