package proxy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
	"kubus.dev/services/proxy"
)

func list() string {
	out, _ := exec.Command("nft", "list", "ruleset", "inet").CombinedOutput()
	return string(out)
}

// until waits for a condition of the rules.
func until(t *testing.T, what string, ok func(rules string) bool) {
	t.Helper()
	rules := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if rules = list(); ok(rules) {
			return
		}
	}
	t.Fatalf("%s does not come about:\n%s", what, rules)
}

func TestRunEnforcesThePoliciesOfTheLog(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Fatal(err)
	}
	network(t)
	conn := bustest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &cluster.Client{Bus: conn, Views: statelog.OpenViews(ctx, conn, zaptest.NewLogger(t))}
	cfg := proxy.Default()
	cfg.Node, cfg.DataDir = "here", t.TempDir()
	p := &kit.Process{Logger: zaptest.NewLogger(t), Health: kit.NewHealth(), Metrics: prometheus.NewRegistry()}
	done := make(chan error, 1)
	go func() { done <- proxy.Run(ctx, cfg, p, c) }()

	object := func(gr proto.GroupResource, namespace, name, rest string) {
		t.Helper()
		key := proto.Key{GroupResource: gr, Namespace: namespace, Name: name}
		body := fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q,"labels":{"app":%q,"kubernetes.io/service-name":"kube-dns"}},%s}`, name, namespace, name, rest)
		if _, err := conn.PublishStream(t.Context(), key.Subject(), []byte(body), nil); err != nil {
			t.Fatal(err)
		}
	}
	object(nodes, "", "here", `"spec":{"podCIDR":"10.244.3.0/24"}`)
	object(namespaces, "", "red", `"spec":{}`)
	object(pods, "red", "web", `"spec":{"nodeName":"here"},"status":{"phase":"Running","podIP":"10.244.3.2"}`)
	object(pods, "red", "peer", `"spec":{"nodeName":"there"},"status":{"phase":"Running","podIP":"10.244.4.2"}`)
	object(endpointSlices, "kube-system", "dns", `"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","ports":[{"port":1053,"protocol":"UDP"}],"endpoints":[{"addresses":["192.0.2.1"]}]`)
	for begin := time.Now(); len(p.Health.Check()) > 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("not ready: %v", p.Health.Check())
		}
	}
	if rules := list(); strings.Contains(rules, "policy") {
		t.Fatalf("without a policy there is a table:\n%s", rules)
	}
	object(policies, "red", "allow", `"spec":{"podSelector":{"matchLabels":{"app":"web"}},"policyTypes":["Ingress"],"ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"peer"}}}]}]}`)
	whole := func(rules string) bool {
		return strings.Contains(rules, "10.244.4.2") && strings.Contains(rules, "10.244.3.2 : goto in-of-") && strings.Contains(rules, "ip saddr 10.244.3.0/24 drop") &&
			strings.Contains(rules, "192.0.2.1 . udp . 1053")
	}
	until(t, "the table of the policy", whole)
	object(pods, "red", "late", `"spec":{"nodeName":"here"},"status":{"phase":"Running","podIP":"10.244.3.9"}`)
	until(t, "a pod that comes", func(rules string) bool { return strings.Contains(rules, "10.244.3.9 : accept") })
	if out, err := exec.Command("nft", "flush", "ruleset", "inet").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	until(t, "the table that somebody took away", whole)
	gather(t, p, "kubus_proxy_policies", 1)

	// A proxy that starts anew, with an instance that holds the same table.
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !whole(list()) {
		t.Error("the table goes with the proxy")
	}
	if err := proxy.Purge(t.Context(), cfg, zaptest.NewLogger(t)); err != nil {
		t.Fatal(err)
	}
	if rules := list(); rules != "" {
		t.Errorf("left after the purge:\n%s", rules)
	}
}

func TestWithoutNftAPolicyMakesTheProxyUnready(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	network(t)
	conn := bustest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := &cluster.Client{Bus: conn, Views: statelog.OpenViews(ctx, conn, zaptest.NewLogger(t))}
	cfg := proxy.Default()
	cfg.Node, cfg.DataDir = "here", t.TempDir()
	withoutNft(t)
	p := &kit.Process{Logger: zaptest.NewLogger(t), Health: kit.NewHealth()}
	done := make(chan error, 1)
	go func() { done <- proxy.Run(ctx, cfg, p, c) }()
	says := func(what string, ok func(failures string) bool) {
		t.Helper()
		for begin := time.Now(); !ok(fmt.Sprint(p.Health.Check())); time.Sleep(time.Millisecond) {
			if time.Since(begin) > 20*time.Second {
				t.Fatalf("%s: %v", what, p.Health.Check())
			}
		}
	}
	says("without a policy it is ready", func(failures string) bool { return failures == "map[]" || failures == "[]" })
	put(t, conn, policies, "deny", `{"metadata":{"name":"deny","namespace":"default"},"spec":{"podSelector":{},"policyTypes":["Ingress"]}}`)
	says("with one it names the package", func(failures string) bool { return strings.Contains(failures, "install the Debian package nftables") })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// withoutNft leaves of all programs those of iptables.
func withoutNft(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("#!/bin/sh\nexec %s \"$@\"\n", path)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

// gather checks the value of a gauge.
func gather(t *testing.T, p *kit.Process, name string, want float64) {
	t.Helper()
	families, err := p.Metrics.(prometheus.Gatherer).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name && f.GetMetric()[0].GetGauge().GetValue() == want {
			return
		}
	}
	t.Errorf("%s is not %v", name, want)
}

var (
	nodes      = proto.GroupResource{Resource: "nodes"}
	namespaces = proto.GroupResource{Resource: "namespaces"}
	pods       = proto.GroupResource{Resource: "pods"}
	policies   = proto.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}
)
