package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
)

// mostBits bounds into how many parts a range is divided: a million, 128 KiB of bits.
const mostBits = 20

// Range is a range of addresses, to be divided into equal parts, one a node.
type Range struct {
	Whole netip.Prefix
	Bits  int // prefix length of a part
}

// Ranges reads the configured ranges, comma separated, one of each family. The first
// family is the primary one. All problems are given at once.
func Ranges(podCIDR string, mask4, mask6 int) (all []Range, err error) {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	families := map[bool]bool{}
	for _, text := range strings.Split(podCIDR, ",") {
		whole, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			problem("podCIDR: %q is no range, such as 10.244.0.0/16", text)
			continue
		}
		r, key := Range{whole.Masked(), mask4}, "nodeMaskSize"
		if whole.Addr().Is6() {
			r.Bits, key = mask6, "nodeMaskSizeIPv6"
		}
		switch {
		case families[whole.Addr().Is4()]:
			problem("podCIDR: %s is a second range of its family", whole)
		case r.Bits < whole.Bits() || r.Bits > whole.Addr().BitLen()-2:
			problem("%s: /%d is no part of %s with room for pods", key, r.Bits, whole)
		case r.Bits-whole.Bits() > mostBits:
			problem("%s: /%d divides %s into more than %d parts", key, r.Bits, whole, 1<<mostBits)
		}
		families[whole.Addr().Is4()] = true
		all = append(all, r)
	}
	return all, errors.Join(problems...)
}

// parts knows which parts of a range are taken. Nodes may have ranges of other sizes,
// given by somebody else: each takes all parts that it overlaps, and a part is free
// when nobody takes it any more.
type parts struct {
	Range
	taken []uint64    // a bit a part
	more  map[int]int // parts that several take: how many more
	count int         // how many are
	next  int         // where the search goes on: what was given back rests for a round
}

func newParts(r Range) *parts {
	return &parts{Range: r, taken: make([]uint64, (1<<(r.Bits-r.Whole.Bits())+63)/64), more: map[int]int{}}
}

// Size is into how many parts the range is divided.
func (p *parts) Size() int { return 1 << (p.Bits - p.Whole.Bits()) }

// Take gives a free part, if there is one.
func (p *parts) Take() (part netip.Prefix, ok bool) {
	i, ok := p.free(p.next, p.Size())
	if !ok {
		i, ok = p.free(0, p.next)
	}
	if !ok {
		return netip.Prefix{}, false
	}
	p.next = i + 1
	part = p.part(i)
	p.Occupy(part)
	return part, true
}

// free finds the first free part from begin on, before end.
func (p *parts) free(begin, end int) (int, bool) {
	for i := begin; i < end; {
		word := ^p.taken[i/64] >> (i % 64)
		if word == 0 {
			i = (i/64 + 1) * 64
			continue
		}
		i += bits.TrailingZeros64(word)
		return i, i < end
	}
	return 0, false
}

// Occupy takes what a range overlaps, and tells whether it is any.
func (p *parts) Occupy(r netip.Prefix) bool {
	first, last, ok := p.span(r)
	for i := first; ok && i <= last; i++ {
		if p.taken[i/64]&(1<<(i%64)) != 0 {
			p.more[i]++
			continue
		}
		p.taken[i/64] |= 1 << (i % 64)
		p.count++
	}
	return ok
}

// Release gives back what Occupy or Take took.
func (p *parts) Release(r netip.Prefix) {
	first, last, ok := p.span(r)
	for i := first; ok && i <= last; i++ {
		switch more := p.more[i]; {
		case more > 1:
			p.more[i]--
		case more == 1:
			delete(p.more, i)
		case p.taken[i/64]&(1<<(i%64)) != 0:
			p.taken[i/64] &^= 1 << (i % 64)
			p.count--
		}
	}
}

// span is which parts a range overlaps.
func (p *parts) span(r netip.Prefix) (first, last int, ok bool) {
	r = r.Masked()
	if !r.IsValid() || !p.Whole.Overlaps(r) {
		return 0, 0, false
	}
	if r.Bits() <= p.Whole.Bits() {
		return 0, p.Size() - 1, true
	}
	first = p.index(r.Addr())
	return first, first + 1<<max(0, p.Bits-r.Bits()) - 1, true
}

// index is the part in which an address of the range lies.
func (p *parts) index(a netip.Addr) int {
	hi, lo := halves(a)
	baseHi, baseLo := halves(p.Whole.Addr())
	hi, lo = hi^baseHi, lo^baseLo // the range's own bits are the same
	shift := p.Whole.Addr().BitLen() - p.Bits
	if shift >= 64 {
		return int(hi >> (shift - 64))
	}
	return int(hi<<(64-shift) | lo>>shift)
}

// part is the i-th one.
func (p *parts) part(i int) netip.Prefix {
	hi, lo := halves(p.Whole.Addr())
	shift := p.Whole.Addr().BitLen() - p.Bits
	if shift >= 64 {
		hi |= uint64(i) << (shift - 64)
	} else {
		hi |= uint64(i) >> (64 - shift)
		lo |= uint64(i) << shift
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	a := netip.AddrFrom16(b)
	if p.Whole.Addr().Is4() {
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.PrefixFrom(a, p.Bits)
}

// halves are an address as two numbers; an IPv4 one is all in the second.
func halves(a netip.Addr) (hi, lo uint64) {
	if a.Is4() {
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}
