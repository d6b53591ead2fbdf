package gateway

import (
	"strings"
	"testing"
	"time"

	"kubus.dev/services/kit"
	"kubus.dev/services/kit/kittest"
)

func TestTheExampleConfigurationShowsTheDefaults(t *testing.T) {
	t.Parallel()
	kittest.Example(t, Default())
}

func TestEverythingWrongIsReportedAtOnce(t *testing.T) {
	cfg := Default()
	cfg.API.Listen, cfg.ServiceCIDR, cfg.NodePorts, cfg.Replicas, cfg.API.Advertise = "nowhere", "fd00::/64", "9-5", 2, "here:1"
	cfg.Fairness.Seats, cfg.Audit.LogFile, cfg.ServiceAccount.MaxTokenExpiration = -1, "audit.log", kit.Duration(time.Minute)
	cfg.Admission.Enable = []string{"Nonsense"}
	cfg.Quota, cfg.Signing.AdoptFile = Quota{Total: "much", Namespace: "-1", Cluster: "1 Gi"}, "log.adopt"
	err := cfg.Validate()
	for _, part := range []string{"admission", "api.certFile", "api.listen", "serviceCIDR", "nodePorts", "replicas", "api.advertise", "sealKeyFile", "fairness.seats", "audit.policyFile", "serviceAccount.maxTokenExpiration", "quota.total", "quota.namespace", "quota.cluster", "signing.adoptFile"} {
		if err == nil || !strings.Contains(err.Error(), part+":") {
			t.Errorf("%s is not reported in %v", part, err)
		}
	}
}

func TestTheAPIServiceIsTheFirstAddress(t *testing.T) {
	cfg := Default()
	cfg.ServiceCIDR, cfg.API.Advertise = "10.7.0.0/16", "192.0.2.7:7443"
	if s := cfg.apiService(); s.ClusterIP != "10.7.0.1" || s.Address != "192.0.2.7" || s.Port != 7443 {
		t.Errorf("got %+v", s)
	}
	cfg.API.Advertise = "127.0.0.1:6443"
	if s := cfg.apiService(); s.Address != "" {
		t.Errorf("a loopback address became an endpoint: %+v", s)
	}
}
