package filter

import (
	"net/netip"
	"reflect"
	"testing"

	"kubus.dev/services/proxy/internal/policy"
)

func TestBlocksAreRangesLessTheirExceptions(t *testing.T) {
	t.Parallel()
	block := func(all string, except ...string) policy.Peer {
		b := &policy.Block{Range: netip.MustParsePrefix(all)}
		for _, e := range except {
			b.Except = append(b.Except, netip.MustParsePrefix(e))
		}
		return policy.Peer{Block: b}
	}
	for name, c := range map[string]struct {
		peers []policy.Peer
		want  []string
	}{
		"all addresses":                          {[]policy.Peer{block("0.0.0.0/0")}, []string{"0.0.0.0-255.255.255.255"}},
		"one address":                            {[]policy.Peer{block("10.0.0.7/32")}, []string{"10.0.0.7"}},
		"an exception in the middle":             {[]policy.Peer{block("10.0.0.0/24", "10.0.0.16/28")}, []string{"10.0.0.0-10.0.0.15", "10.0.0.32-10.0.0.255"}},
		"at the start":                           {[]policy.Peer{block("10.0.0.0/24", "10.0.0.0/25")}, []string{"10.0.0.128-10.0.0.255"}},
		"at the end of all there is":             {[]policy.Peer{block("0.0.0.0/0", "255.0.0.0/8")}, []string{"0.0.0.0-254.255.255.255"}},
		"the whole block":                        {[]policy.Peer{block("10.0.0.0/24", "10.0.0.0/24")}, nil},
		"exceptions that overlap":                {[]policy.Peer{block("10.0.0.0/24", "10.0.0.0/26", "10.0.0.0/25")}, []string{"10.0.0.128-10.0.0.255"}},
		"an exception of one is another's":       {[]policy.Peer{block("10.0.0.0/24", "10.0.0.0/25"), block("10.0.0.5/32")}, []string{"10.0.0.5", "10.0.0.128-10.0.0.255"}},
		"neighbours are one":                     {[]policy.Peer{block("10.0.1.0/24"), block("10.0.0.0/24")}, []string{"10.0.0.0-10.0.1.255"}},
		"a block of the other family has none":   {[]policy.Peer{block("2001:db8::/32")}, nil},
		"an exception of the other family, none": {[]policy.Peer{block("10.0.0.0/31", "2001:db8::/32")}, []string{"10.0.0.0-10.0.0.1"}},
	} {
		if got := blocks(c.peers); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestPortsAreRangesOfAProtocol(t *testing.T) {
	t.Parallel()
	got := ports([]policy.Port{
		{Protocol: policy.TCP, From: 80, To: 80}, {Protocol: policy.TCP, From: 90, To: 100}, {Protocol: policy.TCP, From: 95, To: 110},
		{Protocol: policy.TCP, From: 81, To: 81}, {Protocol: policy.UDP, From: 53, To: 53}, {Protocol: policy.UDP, To: 65535}, {Protocol: policy.SCTP, Name: "web"},
	})
	want := map[policy.Protocol][]string{policy.TCP: {"80-81", "90-110"}, policy.UDP: nil}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
