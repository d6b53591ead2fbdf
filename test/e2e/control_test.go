package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAControlPlaneAloneNeedsNoRootAndIsReadyAtOnce(t *testing.T) {
	need(t, false, "kubus", "kubectl")
	dir, err := os.MkdirTemp("", "kubus-plain-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	config, listen := filepath.Join(dir, "config"), freeAddress(t)
	cmd := exec.Command(filepath.Join(*binDir, "kubus"), "up", "--nodes", "0", "--data-dir", filepath.Join(dir, "data"), "--listen", listen, "--kubeconfig", config)
	out, logs := &output{}, &output{}
	cmd.Stdout, cmd.Stderr = out, logs
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		if errors.Is(err, os.ErrPermission) && !promised() {
			t.Skip("the binaries cannot be read by an ordinary user")
		}
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	eventually(t, 20*time.Second, "the banner", func() error {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v\n%s", err, logs)
		default:
		}
		return contains(out.String(), "Next:")
	})
	t.Logf("ready after %s\n%s", time.Since(began), out)

	c := &cluster{config: config}
	for _, ns := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		c.run(t, "get", "namespace", ns)
	}
	if got := c.run(t, "version"); !strings.Contains(got, "v1.37.2+kubus") {
		t.Errorf("the version is %q", got)
	}
	c.run(t, "create", "configmap", "a", "--from-literal=k=v")
	if got := c.run(t, "get", "configmap", "a", "-o", "jsonpath={.data.k}"); got != "v" {
		t.Errorf("got %q", got)
	}
	c.run(t, "create", "secret", "generic", "s", "--from-literal=password=tell-nobody")
	if got := c.run(t, "get", "secret", "s", "-o", "jsonpath={.data.password}"); got != "dGVsbC1ub2JvZHk=" {
		t.Errorf("got %q", got)
	}
	c.run(t, "label", "configmap", "a", "x=y")
	c.run(t, "annotate", "configmap", "a", "note=1")
	c.run(t, "patch", "configmap", "a", "--type=json", "-p", `[{"op":"add","path":"/data/more","value":"1"}]`)
	c.run(t, "patch", "configmap", "a", "--type=merge", "-p", `{"data":{"k":"w"}}`)
	if got := c.run(t, "get", "configmap", "-l", "x=y", "-o", "jsonpath={.items[0].data.k}{.items[0].data.more}"); got != "w1" {
		t.Errorf("got %q", got)
	}
	manifest := filepath.Join(dir, "m.yaml")
	if err := os.WriteFile(manifest, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: b}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.run(t, "apply", "--server-side", "-f", manifest)
	c.run(t, "apply", "--server-side", "-f", manifest)
	c.run(t, "explain", "pod.spec.containers")
	c.run(t, "api-resources")
	c.run(t, "get", "all", "-A")
	c.run(t, "auth", "can-i", "create", "pods")
	_, watched := c.start(t, "get", "configmaps", "--watch", "-o", "name")
	eventually(t, 10*time.Second, "the watch lists", func() error { return contains(watched.String(), "configmap/ssa") })
	c.run(t, "create", "configmap", "later")
	eventually(t, 10*time.Second, "the watch sees a new object", func() error { return contains(watched.String(), "configmap/later") })
	c.run(t, "delete", "configmap", "a", "later", "ssa")
	if out, err := c.try("get", "configmap", "a"); err == nil || !strings.Contains(out, `configmaps "a" not found`) {
		t.Errorf("got %v, %s", err, out)
	}
	c.run(t, "create", "namespace", "n")
	c.run(t, "create", "configmap", "inside", "-n", "n")
	c.run(t, "delete", "namespace", "n", "--timeout=30s")

	found, _ := command(time.Minute, "grep", "-rlE", "tell-nobody|dGVsbC1ub2JvZHk=", filepath.Join(dir, "data", "store"))
	if strings.TrimSpace(found) != "" {
		t.Errorf("the Secret is readable in the store: %s", found)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Ctrl-C: %v\n%s", err, lastBytes(logs.String(), 4000))
		}
	case <-time.After(20 * time.Second):
		t.Error("Ctrl-C did not end it")
	}
}

func TestTwoClustersRunSideBySide(t *testing.T) {
	need(t, true, nodePrograms...)
	before := snapshot(t)
	a, b := newCluster(t, "side-a", "allinone"), newCluster(t, "side-b", "allinone")
	var m marks
	for _, c := range []*cluster{a, b} {
		out, err := c.kubus(append([]string{"up", "--detach"}, c.flags()[2:]...)...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Log(out)
		s, err := c.status()
		if err != nil {
			t.Fatal(err)
		}
		m = append(m, traces(c.dir, s.Instance)...)
	}
	for _, c := range []*cluster{a, b} {
		c.run(t, "create", "deployment", "web", "--image="+images.Address+"/web:v1", "--replicas=2")
		c.run(t, "set", "env", "deployment/web", "GREETING="+c.node)
		c.run(t, "expose", "deployment", "web", "--port=80", "--target-port=8080")
		c.run(t, "rollout", "status", "deployment/web", "--timeout=60s")
		eventually(t, 20*time.Second, "its Service answers for this cluster", func() error {
			got, err := fetch("http://" + c.get(t, "service/web", ".spec.clusterIP") + "/")
			if err != nil {
				return err
			}
			return contains(got, c.node)
		})
	}
	if out, err := a.kubus("down", "--purge", "--yes"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got, err := fetch("http://" + b.get(t, "service/web", ".spec.clusterIP") + "/"); err != nil || !strings.Contains(got, b.node) {
		t.Errorf("after the other was purged: %q, %v", got, err)
	}
	if out, err := b.kubus("down", "--purge", "--yes"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	unchanged(t, before, m)
}
