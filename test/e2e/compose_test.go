package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"kubus.dev/test/registry"
)

// composed is the cluster of compose.yaml.
type composed struct {
	*cluster
	engine *engine
	keys   string // KUBUS_CLUSTER
}

// compose runs docker compose with the project's own file.
func (c *composed) compose(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.engine.run(5*time.Minute, "docker-compose", append([]string{"-p", "kubus-test", "-f", filepath.Join(top, "compose.yaml")}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func container(service string) string { return "kubus-test_" + service + "_1" }

// TestCompose is the cluster in containers, as compose.yaml has it: three NATS servers, two
// gateways, two nodes, and any one of them ends.
func TestCompose(t *testing.T) {
	need(t, true, "kubus", "kubus-images", "kubectl", "runc", "nats-server")
	before := snapshot(t)
	t.Run("in containers", composedCluster)
	unchanged(t, before, marks{"kubus-engine-", "172.30.99."})
}

func composedCluster(t *testing.T) {
	e := startEngine(t)
	host, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	c := &composed{engine: e, keys: filepath.Join(base, "cluster"), cluster: &cluster{config: filepath.Join(base, "kubeconfig")}}
	settings := filepath.Join(base, "settings.yaml")
	if err := os.WriteFile(settings, []byte("dns: {forward: []}\nagent: {evictionHard: {nodefs.available: 1%}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.env = append(e.env, "KUBUS_VERSION=test", "KUBUS_CLUSTER="+c.keys, "KUBUS_SETTINGS="+settings, "KUBUS_ADDRESS="+host, "KUBUS_PORT="+port)
	outside := []string{"FORWARD", "-s", "172.30.99.0/24", "!", "-d", "172.30.99.0/24", "-j", "REJECT"}
	if out, err := exec.Command("iptables", append([]string{"-I"}, outside...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("iptables", append([]string{"-D"}, outside...)...).Run() })

	step := func(name string, f func(t *testing.T)) {
		if !t.Failed() {
			t.Run(name, f)
		}
	}
	step("the images are made of the programs", func(t *testing.T) {
		archive := filepath.Join(base, "images.tar")
		if out, err := command(5*time.Minute, filepath.Join(*binDir, "kubus-images"), "-bin", *binDir, "-version", "test", "-out", archive); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if _, err := e.docker("load", "-i", archive); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(archive)
	})
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := e.run(time.Minute, "docker-compose", "-p", "kubus-test", "-f", filepath.Join(top, "compose.yaml"), "logs", "--tail=8")
			t.Log(lastBytes(out, 12000))
		}
		c.compose(t, "down", "--volumes", "--timeout", "20")
	})
	step("one command starts it, and both nodes are Ready", func(t *testing.T) {
		start := time.Now()
		c.compose(t, "up", "--detach")
		c.access(t, host, port)
		eventually(t, 2*time.Minute, "both nodes are Ready", func() error {
			out, err := c.try("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=1s")
			if err == nil && strings.Count(out, "condition met") != 2 {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
		t.Logf("after %s", time.Since(start).Round(100*time.Millisecond))
	})
	step("every stream of the log has three replicas", func(t *testing.T) {
		for stream, replicas := range c.replicas(t) {
			if replicas != 3 {
				t.Errorf("%s has %d replicas that are current", stream, replicas)
			}
		}
	})
	step("a process has its own keys and no others", func(t *testing.T) {
		for service, keys := range map[string][]string{
			"scheduler": {"bus-ca.crt", "bus/scheduler.nk"}, "node-1-agent": {"bus-ca.crt", "bus/agent-node-1.nk"}, "nats-2": {"bus-ca.crt", "bus-nats-2.crt", "bus-nats-2.key"},
		} {
			if got := filesBelow(t, filepath.Join(c.keys, service, "pki")); !slices.Equal(got, keys) {
				t.Errorf("%s has %v, want %v", service, got, keys)
			}
		}
	})
	step("pods run on both nodes and reach each other by name", func(t *testing.T) { c.pods(t) })
	step("a NATS server and a gateway are killed, and writes go on", func(t *testing.T) { c.survives(t) })
	step("all of it stops and starts, and everything is there", func(t *testing.T) {
		c.compose(t, "stop", "--timeout", "30")
		c.compose(t, "up", "--detach")
		eventually(t, 2*time.Minute, "the deployment is available again", func() error {
			_, err := c.try("wait", "--for=condition=Available", "deployment/web", "--timeout=1s")
			return err
		})
		if got := c.run(t, "get", "configmaps", "-l", "written", "-o", "name"); strings.Count(got, "\n") == 0 {
			t.Error("what was written before is gone")
		}
	})
}

// access makes the operator's kubeconfig one for the port that the test has.
func (c *composed) access(t *testing.T, host, port string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.keys, "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(data), "https://"+net.JoinHostPort(host, "6443"), "https://"+net.JoinHostPort(host, port))
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replicas counts those of each state stream that have all of it.
func (c *composed) replicas(t *testing.T) map[string]int {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(filepath.Join(c.keys, "pki", "bus", "operator.nk"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(c.keys, "pki", "bus-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	address, err := c.engine.docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container("nats-1"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	conn, err := nats.Connect("tls://"+net.JoinHostPort(strings.TrimSpace(address), "4222"), key, nats.Secure(&tls.Config{RootCAs: roots, ServerName: "nats-1"}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for stream := range js.Streams() {
		out[stream.Config.Name] = 1
		for _, replica := range stream.Cluster.Replicas {
			if replica.Current {
				out[stream.Config.Name]++
			}
		}
	}
	if out["STATE"] == 0 {
		t.Fatalf("the streams are %v", out)
	}
	return out
}

// pods has a web server on each node, and asks by the Service's name from both.
func (c *composed) pods(t *testing.T) {
	t.Helper()
	own, err := registry.Start("172.30.99.1:0", web)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	for _, node := range []string{"node-1", "node-2"} {
		file := filepath.Join(c.keys, node+"-agent", "registries.yaml")
		if err := os.WriteFile(file, []byte("mirrors: {"+hub+": {endpoint: [\"http://"+own.Address+"\"]}}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.apply(t, strings.ReplaceAll(composedManifest, "REGISTRY", hub))
	c.run(t, "wait", "--for=condition=Available", "deployment/web", "--timeout=90s")
	on := strings.Fields(c.run(t, "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"))
	slices.Sort(on)
	if !slices.Equal(on, []string{"node-1", "node-2"}) {
		t.Errorf("the pods are on %v", on)
	}
	for _, pod := range strings.Fields(c.run(t, "get", "pods", "-l", "app=asks", "-o", "name")) {
		c.run(t, "wait", "--for=condition=Ready", pod, "--timeout=60s")
		for range 6 { // both backends
			c.run(t, "exec", pod, "--", "wget", "-q", "-O-", "http://web.default.svc.cluster.local/")
		}
	}
}

const composedManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - {name: web, image: REGISTRY/web:v1, ports: [{containerPort: 8080}], readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: asks}
spec:
  selector: {matchLabels: {app: asks}}
  template:
    metadata: {labels: {app: asks}}
    spec:
      containers: [{name: asks, image: "REGISTRY/busybox:1", command: [sleep, "100000"]}]
`

// survives kills a NATS server and a gateway while ConfigMaps are written: kubectl's retry
// is all that a client needs, and whatever was acknowledged is there.
func (c *composed) survives(t *testing.T) {
	t.Helper()
	restarts := func() string {
		return c.run(t, "get", "pods", "-A", "-o", "jsonpath={.items[*].status.containerStatuses[*].restartCount}")
	}
	before := restarts()
	kills := map[int]string{5: "nats-2", 15: "gateway-1"}
	var acknowledged []string
	var gap time.Duration
	last := time.Now()
	for n := 0; n < 30; n++ {
		if service := kills[n]; service != "" {
			c.kill(t, service)
		}
		name := fmt.Sprintf("written-%d", n)
		eventually(t, 30*time.Second, name+" is written", func() error {
			out, err := c.try("create", "configmap", name, "--from-literal=n=1")
			if err != nil && strings.Contains(out, "AlreadyExists") {
				err = nil // an attempt before, whose answer was lost
			}
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
			return err
		})
		acknowledged = append(acknowledged, name)
		gap = max(gap, time.Since(last))
		last = time.Now()
	}
	c.run(t, slices.Concat([]string{"label", "configmap"}, acknowledged, []string{"written="})...)
	if got := strings.Count(c.run(t, "get", "configmaps", "-l", "written", "-o", "name"), "\n"); got != len(acknowledged) {
		t.Errorf("%d of %d acknowledged writes are there", got, len(acknowledged))
	}
	if after := restarts(); after != before {
		t.Errorf("containers were restarted: %s before, %s after", before, after)
	}
	t.Logf("the longest gap between two acknowledged writes: %s", gap.Round(10*time.Millisecond))
	eventually(t, time.Minute, "what was killed runs again", func() error {
		for _, service := range kills {
			if out, err := c.engine.docker("inspect", "-f", "{{.State.Running}}", container(service)); err != nil || strings.TrimSpace(out) != "true" {
				return fmt.Errorf("%s: %s %w", service, out, err)
			}
		}
		return nil
	})
}

// kill ends a service's process, which the engine then starts again; what its own command
// kills stays away.
func (c *composed) kill(t *testing.T, service string) {
	t.Helper()
	out, err := c.engine.docker("inspect", "-f", "{{.State.Pid}}", container(service))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || pid < 2 {
		t.Fatalf("%s is process %q: %v", service, out, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// filesBelow lists the files below a folder, in order.
func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		within, err := filepath.Rel(dir, path)
		out = append(out, within)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}
