package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// background starts `kubus up` in the foreground of its own process, and stops it with the test.
func background(t *testing.T, args ...string) (logs *output, pid int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(*binDir, "kubus"), append([]string{"up"}, args...)...)
	out, logs := &output{}, &output{}
	cmd.Stdout, cmd.Stderr = out, logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	eventually(t, 20*time.Second, "kubus up is up", func() error {
		if err := contains(out.String(), "Next:"); err != nil {
			return fmt.Errorf("%w\n%s", err, logs)
		}
		return nil
	})
	return logs, cmd.Process.Pid
}

func TestADataDirectoryInUseNamesTheProcess(t *testing.T) {
	need(t, false, "kubus")
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"--nodes", "0", "--data-dir", dir, "--kubeconfig", filepath.Join(t.TempDir(), "config")}
	_, pid := background(t, append(args, "--listen", freeAddress(t))...)
	out, err := command(20*time.Second, filepath.Join(*binDir, "kubus"), append([]string{"up", "--listen", freeAddress(t)}, args...)...)
	if err == nil || !strings.Contains(out, fmt.Sprintf("in use by process %d", pid)) || !strings.Contains(out, "kubus down") {
		t.Errorf("got %v, %s", err, out)
	}
}

func TestAClusterLivesInAnExternalStore(t *testing.T) {
	need(t, false, "kubus", "kubectl", "nats-server")
	address := freeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	server := exec.Command(filepath.Join(*binDir, "nats-server"), "-js", "-sd", t.TempDir(), "-a", "127.0.0.1", "-p", port)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	dir, config := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "config")
	background(t, "--nodes", "0", "--data-dir", dir, "--kubeconfig", config, "--listen", freeAddress(t), "--store", "nats://"+address)
	c := &cluster{config: config, dir: dir}
	c.run(t, "create", "configmap", "outside")
	if _, err := os.Stat(filepath.Join(dir, "store")); !os.IsNotExist(err) {
		t.Errorf("there is a store of our own: %v", err)
	}
	if s, err := c.status(); err != nil {
		t.Errorf("status: %v, %+v", err, s)
	}
}

// A NATS of somebody else's with the cluster's own accounts works as ours does: each
// service by its own key, in its own account (the matrix of proto/store is of such a server).
func TestAClusterHasItsOwnAccountsInAnExternalStore(t *testing.T) {
	need(t, false, "kubus", "kubectl", "nats-server", "kubus-keeper")
	for _, form := range []string{"allinone", "services"} {
		t.Run(form, func(t *testing.T) {
			address, dir, config := freeAddress(t), filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "config")
			kubus := filepath.Join(*binDir, "kubus")
			nats := make(chan error, 1)
			go func() { nats <- natsWithAccounts(t, dir, address) }()
			t.Cleanup(func() { _, _ = command(time.Minute, kubus, "down", "--data-dir", dir, "--purge", "--yes") })
			out, err := command(time.Minute, kubus, "up", "--detach", "--nodes", "0", "--form", form, "--data-dir", dir, "--kubeconfig", config,
				"--listen", freeAddress(t), "--store", "nats://"+address, "--store-nkey", "own")
			if err := errors.Join(err, <-nats); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			c := &cluster{config: config, dir: dir}
			c.run(t, "create", "deployment", "web", "--image", "x", "--replicas", "2")
			eventually(t, 30*time.Second, "controllers make its pods", func() error {
				out, err := c.try("get", "pods", "-o", "name")
				if err != nil || strings.Count(out, "pod/web-") != 2 {
					return fmt.Errorf("%v %s", err, out)
				}
				return nil
			})
			c.run(t, "create", "serviceaccount", "robot")
			c.run(t, "delete", "deployment", "web")
			eventually(t, 30*time.Second, "garbage collection", func() error {
				out, err := c.try("get", "pods", "-o", "name")
				if err != nil || out != "" {
					return fmt.Errorf("%v %s", err, out)
				}
				return nil
			})
		})
	}
}

// natsWithAccounts starts a nats-server with the accounts of an instance as soon as they
// are written, until the test ends.
func natsWithAccounts(t *testing.T, dir, address string) error {
	accounts := filepath.Join(dir, "config", "nats-accounts.conf")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(accounts); err == nil {
			break
		} else if time.Now().After(deadline) {
			return err
		}
	}
	conf := filepath.Join(dir, "config", "theirs.conf")
	text := fmt.Sprintf("listen: %q\nmax_payload: 8MB\njetstream { store_dir: %q, sync_interval: always }\ninclude nats-accounts.conf\n", address, t.TempDir())
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	server := exec.Command(filepath.Join(*binDir, "nats-server"), "-c", conf)
	if err := server.Start(); err != nil {
		return err
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	return nil
}

// One line makes new keys while the cluster runs: what is there stays, everybody goes on, and
// who has a copy of an old key is refused. So with the key of the log, whose old one is
// forgotten when everything is signed under the new one.
func TestKeysAreRotatedWhileTheClusterRuns(t *testing.T) {
	need(t, false, "kubus", "kubectl", "nats-server", "kubus-keeper", "kubus-scheduler")
	for _, form := range []string{"allinone", "services"} {
		t.Run(form, func(t *testing.T) {
			c := newCluster(t, "rotated", form)
			c.listen = freeAddress(t)
			if out, err := c.kubus("up", "--detach", "--nodes", "0", "--form", form, "--listen", c.listen, "--kubeconfig", c.config); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			c.run(t, "create", "secret", "generic", "kept", "--from-literal", "a=b")
			read := func(file string) string {
				t.Helper()
				data, err := os.ReadFile(filepath.Join(c.dir, "pki", file))
				if err != nil {
					t.Fatal(err)
				}
				return string(data)
			}
			files := []string{"bus/scheduler.nk", "bus/gateway.nk", "bus.crt", "bus-ca.crt", "log.key"}
			before := map[string]string{}
			for _, file := range files {
				before[file] = read(file)
			}
			for _, step := range []struct {
				words   []string
				changed []string
			}{
				{[]string{"scheduler"}, []string{"bus/scheduler.nk"}},
				{nil, []string{"bus/scheduler.nk", "bus/gateway.nk", "bus.crt"}},
				{[]string{"log"}, []string{"log.key"}},
				{[]string{"bus-ca"}, []string{"bus.crt", "bus-ca.crt"}},
			} {
				out, err := c.kubus(append([]string{"keys", "rotate"}, step.words...)...)
				if err != nil {
					t.Fatalf("rotating %v: %v\n%s", step.words, err, out)
				}
				t.Logf("rotating %v:\n%s", step.words, out)
				var changed []string
				for _, file := range files {
					if now := read(file); now != before[file] {
						changed, before[file] = append(changed, file), now
					}
				}
				if !slices.Equal(changed, step.changed) {
					t.Errorf("rotating %v changed %v, want %v", step.words, changed, step.changed)
				}
				name := "after-" + strings.Join(append(step.words, "all")[:1], "")
				if got := c.run(t, "get", "secret", "kept", "-o", "jsonpath={.data.a}"); got != "Yg==" {
					t.Errorf("after rotating %v the Secret says %q", step.words, got)
				}
				c.run(t, "create", "deployment", name, "--image", "x")
				eventually(t, 60*time.Second, "controllers make its pod", func() error {
					out, err := c.try("get", "pods", "-o", "name")
					return errors.Join(err, contains(out, "pod/"+name+"-"))
				})
			}
			if keys := strings.Fields(read("log.key")); len(keys) != 1 {
				t.Errorf("%d keys of the log are believed", len(keys))
			}
		})
	}
}

func TestAFullDiskIsToldBeforeAnythingIsWritten(t *testing.T) {
	need(t, true, "kubus")
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(small, 0)
	out, err := command(20*time.Second, filepath.Join(*binDir, "kubus"), "up", "--nodes", "0", "--data-dir", filepath.Join(small, "data"),
		"--listen", freeAddress(t), "--kubeconfig", filepath.Join(t.TempDir(), "config"))
	if err == nil || !strings.Contains(out, "no disk space") || !strings.Contains(out, "--data-dir") {
		t.Errorf("got %v, %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(small, "data")); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

func TestOneServiceRunsFromTheCommandAndChecksItsConfiguration(t *testing.T) {
	need(t, false, "kubus")
	kubus := filepath.Join(*binDir, "kubus")
	if out, err := command(20*time.Second, kubus, "run", "scheduler", "-check-config"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("wokers: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := command(20*time.Second, kubus, "run", "scheduler", "-config", bad); err == nil || !strings.Contains(out, "wokers") {
		t.Errorf("an unknown key: %v\n%s", err, out)
	}
	if out, err := command(20*time.Second, kubus, "run", "nothing"); err == nil || !strings.Contains(out, "controllers") {
		t.Errorf("an unknown service: %v\n%s", err, out)
	}
}
