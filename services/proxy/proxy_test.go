package proxy_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"kubus.dev/services/kit"
	"kubus.dev/services/proxy"
)

func TestTheExampleConfigurationIsTheDefault(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got proxy.Config
	if err := kit.Parse("config.example.yaml", data, &got); err != nil {
		t.Fatal(err)
	}
	if want := proxy.Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
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
