package node

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

func TestRanges(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, cidr   string
		mask4, mask6 int
		want, bad    string
	}{
		{"one family", "10.244.0.0/16", 24, 64, "[{10.244.0.0/16 24}]", ""},
		{"two families, and the host's part does not matter", "10.244.1.1/16, fd00:10::1/48", 24, 64, "[{10.244.0.0/16 24} {fd00:10::/48 64}]", ""},
		{"IPv6 first", "fd00::/56,10.0.0.0/16", 20, 64, "[{fd00::/56 64} {10.0.0.0/16 20}]", ""},
		{"a part may be the whole", "10.244.0.0/24", 24, 64, "[{10.244.0.0/24 24}]", ""},
		{"no range", "ten", 24, 64, "", `podCIDR: "ten"`},
		{"a second of a family", "10.0.0.0/16,10.1.0.0/16", 24, 64, "", "second range of its family"},
		{"a part larger than the whole", "10.0.0.0/16", 8, 64, "", "nodeMaskSize: /8"},
		{"no room for pods", "10.0.0.0/16", 31, 64, "", "nodeMaskSize: /31"},
		{"more parts than anybody has nodes", "fd00::/32", 24, 64, "", "nodeMaskSizeIPv6: /64 divides fd00::/32 into more than 1048576 parts"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := Ranges(c.cidr, c.mask4, c.mask6)
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("got %v, want %q", err, c.bad)
				}
				return
			}
			if err != nil || fmt.Sprint(got) != c.want {
				t.Errorf("got %v %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestParts(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		whole string
		bits  int
		used  []string
		want  string
	}{
		{"the first", "10.244.0.0/16", 24, nil, "10.244.0.0/24"},
		{"the first gap", "10.244.0.0/16", 24, []string{"10.244.0.0/24", "10.244.2.0/24"}, "10.244.1.0/24"},
		{"behind a larger one", "10.244.0.0/16", 24, []string{"10.244.0.0/20"}, "10.244.16.0/24"},
		{"not where a smaller one lies", "10.244.0.0/16", 24, []string{"10.244.0.128/26"}, "10.244.1.0/24"},
		{"others' ranges do not matter", "10.244.0.0/16", 24, []string{"192.168.0.0/16", "fd00::/48"}, "10.244.0.0/24"},
		{"none is left", "10.244.0.0/23", 24, []string{"10.244.0.0/24", "10.244.1.0/24"}, ""},
		{"one that holds the whole leaves none", "10.244.0.0/23", 24, []string{"10.0.0.0/8"}, ""},
		{"the whole", "10.244.0.0/24", 24, nil, "10.244.0.0/24"},
		{"the end of all addresses", "255.255.255.0/24", 25, []string{"255.255.255.0/25"}, "255.255.255.128/25"},
		{"the end is the end", "255.255.255.0/24", 25, []string{"255.255.255.0/25", "255.255.255.128/25"}, ""},
		{"behind a word of bits", "10.0.0.0/8", 24, []string{"10.0.0.0/16", "10.1.0.0/17"}, "10.1.128.0/24"},
		{"IPv6, in the first half", "fd00:10:244::/48", 64, []string{"fd00:10:244::/64"}, "fd00:10:244:1::/64"},
		{"IPv6, over the middle", "fd00::/56", 72, []string{"fd00::/64"}, "fd00:0:0:1::/72"},
		{"IPv6, in the second half", "fd00::/100", 112, []string{"fd00::/112"}, "fd00::1:0/112"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newParts(Range{netip.MustParsePrefix(c.whole), c.bits})
			for _, r := range prefixes(c.used...) {
				p.Occupy(r)
			}
			got, ok := p.Take()
			if ok != (c.want != "") || ok && got.String() != c.want {
				t.Errorf("got %v %v, want %q", got, ok, c.want)
			}
		})
	}
}

func TestWhatIsGivenBackRestsForARound(t *testing.T) {
	t.Parallel()
	p := newParts(Range{netip.MustParsePrefix("10.0.0.0/22"), 24})
	first, _ := p.Take()
	p.Release(first)
	var got []netip.Prefix
	for range 4 {
		part, _ := p.Take()
		got = append(got, part)
	}
	if want := prefixes("10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24", "10.0.0.0/24"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Against the plain truth: a part is free when no range in use overlaps it, in any order
// of taking and giving back, whoever gave the ranges.
func TestPartsAreTakenExactlyWhileSomebodyHasThem(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		whole := netip.MustParsePrefix([]string{"10.0.0.0/20", "fd00::/60"}[seed%2])
		p := newParts(Range{whole, whole.Bits() + 6})
		var used []netip.Prefix
		for range 200 {
			switch {
			case len(used) > 0 && r.IntN(2) == 0:
				i := r.IntN(len(used))
				p.Release(used[i])
				used = slices.Delete(used, i, i+1)
			case r.IntN(4) == 0: // somebody else's, of any size
				foreign := netip.PrefixFrom(p.part(r.IntN(p.Size())).Addr(), whole.Bits()+2+r.IntN(7)).Masked()
				p.Occupy(foreign)
				used = append(used, foreign)
			default:
				part, ok := p.Take()
				for _, other := range used {
					if ok && other.Overlaps(part) {
						t.Fatalf("seed %d: %v is given while %v is in use", seed, part, other)
					}
				}
				if ok {
					used = append(used, part)
				}
			}
			count := 0
			for i := range p.Size() {
				if slices.ContainsFunc(used, p.part(i).Overlaps) {
					count++
				}
			}
			if p.count != count {
				t.Fatalf("seed %d: %d parts are taken, want %d of %v", seed, p.count, count, used)
			}
		}
	}
}

func TestBook(t *testing.T) {
	t.Parallel()
	ranges, err := Ranges("10.0.0.0/23,fd00::/63", 24, 64)
	if err != nil {
		t.Fatal(err)
	}
	b := newBook(ranges)
	if foreign, _ := b.Has("old", prefixes("10.0.0.0/24", "192.168.0.0/24")); !slices.Equal(foreign, prefixes("192.168.0.0/24")) {
		t.Errorf("foreign: %v", foreign)
	}
	one, err := b.Give("one")
	if again, _ := b.Give("one"); err != nil || !slices.Equal(one, prefixes("10.0.1.0/24", "fd00::/64")) || !slices.Equal(one, again) {
		t.Errorf("one has %v, then %v: %v", one, again, err)
	}
	if _, err := b.Give("two"); err == nil || err.Error() != "all 2 parts /24 of 10.0.0.0/23 are taken" || b.families[1].count != 1 {
		t.Errorf("of one family there is none: %v, and %d parts of the other are taken", err, b.families[1].count)
	}
	if !b.Wait("two") || b.Wait("two") {
		t.Error("it is told once that it waits")
	}
	if _, woken := b.Has("one", one); woken != nil || b.families[0].count != 2 {
		t.Errorf("one has what it was given: %v woken, %d taken", woken, b.families[0].count)
	}
	if woken := b.Forget("old"); !slices.Equal(woken, []string{"two"}) {
		t.Errorf("woken: %v", woken)
	}
	if two, err := b.Give("two"); err != nil || !slices.Equal(two, prefixes("10.0.0.0/24", "fd00:0:0:1::/64")) {
		t.Errorf("two has %v: %v", two, err)
	}
	if woken := b.Forget("two"); woken != nil || b.families[0].count != 1 {
		t.Errorf("gone before it had it: %v woken, %d taken", woken, b.families[0].count)
	}
	if woken := b.Forget("nobody"); woken != nil {
		t.Errorf("woken: %v", woken)
	}
}
