package outfit

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"kubus.dev/services/kit"
)

func newPlan() *Plan {
	return &Plan{
		Servers: []string{"nats-1", "nats-2", "nats-3"}, Gateways: []string{"gateway-1", "gateway-2"},
		API: "172.30.99.2", APINames: []string{"127.0.0.1"}, DNS: "172.30.99.3",
		Nodes:    []Node{{"node-1", "172.30.99.11"}, {"node-2", "172.30.99.12"}},
		NodeCIDR: "172.30.99.0/24", PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/16", PodNetwork: "routes",
	}
}

func written(t *testing.T, p *Plan, dir string) map[string]string {
	t.Helper()
	if err := Write(p, dir); err != nil {
		t.Fatal(err)
	}
	return files(t, dir)
}

// files has the contents of all files below dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		within, _ := filepath.Rel(dir, path)
		out[within] = string(data)
		if info, infoErr := d.Info(); infoErr != nil || info.Mode().Perm()&0o077 != 0 && filepath.Base(path) != "admin.kubeconfig" {
			t.Errorf("others may read %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func below(all map[string]string, dir string) []string {
	var out []string
	for _, file := range slices.Sorted(maps.Keys(all)) {
		if rest, ok := strings.CutPrefix(file, dir+"/"); ok {
			out = append(out, rest)
		}
	}
	return out
}

func TestAProcessHasItsConfigurationAndTheKeysThatThisNames(t *testing.T) {
	t.Parallel()
	all := written(t, newPlan(), t.TempDir())
	for name, want := range map[string][]string{
		"nats-2":       {"nats-server.conf", "pki/bus-ca.crt", "pki/bus-nats-2.crt", "pki/bus-nats-2.key"},
		"scheduler":    {"pki/bus-ca.crt", "pki/bus/scheduler.nk", "scheduler.yaml"},
		"node-1-agent": {"agent.yaml", "pki/bus-ca.crt", "pki/bus/agent-node-1.nk"},
		"node-2-proxy": {"pki/bus-ca.crt", "pki/bus/proxy-node-2.nk", "proxy.yaml"},
		"dns":          {"dns.yaml", "pki/bus-ca.crt", "pki/bus/dns.nk"},
	} {
		if got := below(all, name); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	for _, g := range []string{"gateway-1", "gateway-2"} {
		if !slices.Contains(below(all, g), "pki/log.key") || slices.Contains(below(all, g), "pki/ca.key") {
			t.Errorf("%s has %v", g, below(all, g))
		}
	}
}

// The same words that a program refuses are refused here, not when it starts.
func TestEveryConfigurationIsOneThatItsServiceReads(t *testing.T) {
	t.Parallel()
	all := written(t, newPlan(), t.TempDir())
	for file, want := range map[string]map[string]string{
		"gateway-1/gateway.yaml":       {"api.listen": "0.0.0.0:6443", "api.advertise": "172.30.99.2:6443", "replicas": "3"},
		"scheduler/scheduler.yaml":     {"leaderElection": "true", "bus.url": "tls://nats-1:4222,tls://nats-2:4222,tls://nats-3:4222"},
		"dns/dns.yaml":                 {"address": "172.30.99.3:53", "clusterIP": "10.96.0.10"},
		"node-2-agent/agent.yaml":      {"node": "node-2", "nodeIP": "172.30.99.12", "bus.nkeySeedFile": "/etc/kubus/pki/bus/agent-node-2.nk"},
		"status/status.yaml":           {"replicas": "3"},
		"controllers/controllers.yaml": {"podCIDR": "10.244.0.0/16"},
	} {
		var root map[string]any
		if err := yaml.Unmarshal([]byte(all[file]), &root); err != nil {
			t.Fatal(err)
		}
		for key, value := range want {
			if got := at(root, strings.Split(key, ".")); got != value {
				t.Errorf("%s: %s is %q, want %q", file, key, got, value)
			}
		}
	}
	var common struct {
		kit.Common `yaml:",inline"`
	}
	for file, data := range all {
		if strings.HasSuffix(file, ".yaml") {
			if err := yaml.Unmarshal([]byte(data), &common); err != nil || common.Bus.CAFile != "/etc/kubus/pki/bus-ca.crt" {
				t.Errorf("%s: the bus is %+v, %v", file, common.Bus, err)
			}
		}
	}
}

func at(tree any, path []string) string {
	for _, key := range path {
		tree = tree.(map[string]any)[key]
	}
	data, _ := yaml.Marshal(tree)
	return strings.TrimSpace(string(data))
}

func TestServersProveThemselvesToClientsAndToEachOther(t *testing.T) {
	t.Parallel()
	all := written(t, newPlan(), t.TempDir())
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(all["pki/bus-ca.crt"]))
	block, _ := pem.Decode([]byte(all["nats-3/pki/bus-nats-3.crt"]))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "nats-3", KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("usage %d: %v", usage, err)
		}
	}
	if err := cert.VerifyHostname("nats-1"); err == nil {
		t.Error("one server can stand in for another")
	}
}

func TestASecondRunKeepsTheKeysAndFollowsThePlan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := written(t, newPlan(), dir)
	p := newPlan()
	p.Nodes = append(p.Nodes, Node{"node-3", "172.30.99.13"})
	second := written(t, p, dir)
	for file, data := range first {
		if strings.Contains(file, "pki/") && second[file] != data {
			t.Errorf("%s is another one", file)
		}
	}
	if second["pki/bus/agent-node-3.nk"] == "" || second["node-3-agent/pki/bus/agent-node-3.nk"] != second["pki/bus/agent-node-3.nk"] {
		t.Error("the new node has no key")
	}
	if first["nats-1/nats-server.conf"] == second["nats-1/nats-server.conf"] {
		t.Error("the servers do not know the new node")
	}
	stray := filepath.Join(dir, "scheduler", "pki", "bus", "gateway.nk")
	if err := os.WriteFile(stray, []byte("not its own"), 0o600); err != nil {
		t.Fatal(err)
	}
	if third := written(t, p, dir); third["scheduler/pki/bus/gateway.nk"] != "" {
		t.Error("a key that a process no longer needs stays with it")
	}
}

func TestTheOperatorsSettingsGoOverThePlans(t *testing.T) {
	t.Parallel()
	p := newPlan()
	p.Settings = filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(p.Settings, []byte("scheduler: {workers: 3}\ndns: {forward: []}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := written(t, p, t.TempDir())
	if !strings.Contains(all["scheduler/scheduler.yaml"], "workers: 3") || !strings.Contains(all["dns/dns.yaml"], "forward: []") {
		t.Error("the settings are not there")
	}
	if err := os.WriteFile(p.Settings, []byte("scheduler: {worker: 3}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(p, t.TempDir()); err == nil || !strings.Contains(err.Error(), "field worker not found") {
		t.Errorf("a setting that does not exist: %v", err)
	}
}

func TestAPlanThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	for why, change := range map[string]func(*Plan){
		"2 NATS servers":                   func(p *Plan) { p.Servers = p.Servers[:2] },
		"no gateway":                       func(p *Plan) { p.Gateways = nil },
		"two processes named node-1":       func(p *Plan) { p.Gateways = []string{"node-1"} },
		"two processes named scheduler":    func(p *Plan) { p.Gateways = []string{"scheduler"} },
		"two processes named node-1-agent": func(p *Plan) { p.Gateways = []string{"node-1-agent"} },
		"no name for a process":            func(p *Plan) { p.Servers[0] = "../nats" },
		"is no IPv4 address":               func(p *Plan) { p.DNS = "dns" },
		"the address of node node-2":       func(p *Plan) { p.Nodes[1].IP = "" },
		"the range of pods":                func(p *Plan) { p.PodCIDR = "10.244.0.0" },
		"nodes need an address of the API": func(p *Plan) { p.API = "" },
	} {
		p, dir := newPlan(), t.TempDir()
		change(p)
		if err := Write(p, dir); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
		if left := files(t, dir); len(left) > 0 {
			t.Errorf("%s: %d files are written all the same", why, len(left))
		}
	}
}
