package proxy_test

import (
	"strings"
	"testing"

	"kubus.dev/services/kit/kittest"
	"kubus.dev/services/proxy"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) {
	t.Parallel()
	kittest.Example(t, proxy.Default())
}

func TestAllProblemsOfAConfigurationAreToldAtOnce(t *testing.T) {
	t.Parallel()
	cfg := proxy.Default()
	cfg.ServiceCIDRs, cfg.PodCIDR, cfg.MasqueradeBit = []string{"fd00::/108", "nonsense"}, "10.244.0.0", 32
	err := cfg.Validate()
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"serviceCIDRs[0]: fd00::/108 is not IPv4", "serviceCIDRs[1]", "podCIDR", "masqueradeBit"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %s", err, want)
		}
	}
}
