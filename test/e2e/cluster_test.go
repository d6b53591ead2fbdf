package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cluster is one instance under test and the ways to it.
type cluster struct {
	dir, config, listen, node, form string
	extra                           []string
}

// newCluster chooses names and a free port; nothing runs yet. What it leaves is
// removed when the test ends.
func newCluster(t *testing.T, name, form string, extra ...string) *cluster {
	t.Helper()
	base := t.TempDir()
	c := &cluster{
		dir: filepath.Join(base, "data"), config: filepath.Join(base, "kubeconfig"),
		listen: freeAddress(t), node: name, form: form, extra: extra,
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.dump(t)
			if *keep {
				t.Logf("left running: %s --data-dir %s", filepath.Join(*binDir, "kubus"), c.dir)
				return
			}
		}
		if out, err := c.kubus("down", "--purge", "--yes"); err != nil {
			t.Errorf("cleaning up: %v\n%s", err, out)
		}
	})
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	// Below the ephemeral range, so that no outgoing connection takes it meanwhile.
	for port := 16000 + l.Addr().(*net.TCPAddr).Port%4000; port < 32000; port++ {
		probe, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			probe.Close()
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	t.Fatal("no free port")
	return ""
}

func (c *cluster) flags() []string {
	return append([]string{"--data-dir", c.dir, "--listen", c.listen, "--node-name", c.node, "--kubeconfig", c.config}, c.extra...)
}

// kubus runs the operator's command for this instance.
func (c *cluster) kubus(args ...string) (string, error) {
	args = append(args[:1:1], append([]string{"--data-dir", c.dir}, args[1:]...)...)
	return command(3*time.Minute, filepath.Join(*binDir, "kubus"), args...)
}

// makeUp is `make up` as a user calls it.
func (c *cluster) makeUp() (string, error) {
	return command(20*time.Minute, "make", "-s", "-C", top, "up", "FORM="+c.form, "UPFLAGS="+strings.Join(c.flags(), " "))
}

// try runs kubectl.
func (c *cluster) try(args ...string) (string, error) {
	return command(2*time.Minute, filepath.Join(*binDir, "kubectl"), append([]string{"--kubeconfig", c.config}, args...)...)
}

// run is try for what must succeed.
func (c *cluster) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.try(args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// apply applies a manifest.
func (c *cluster) apply(t *testing.T, manifest string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(*binDir, "kubectl"), "--kubeconfig", c.config, "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kubectl apply: %v\n%s\n%s", err, out, manifest)
	}
}

// start is kubectl in the background; it ends with the test.
func (c *cluster) start(t *testing.T, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	cmd := exec.Command(filepath.Join(*binDir, "kubectl"), append([]string{"--kubeconfig", c.config}, args...)...)
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, out
}

// command runs a program and gives all it printed.
func command(limit time.Duration, name string, args ...string) (string, error) {
	return commandIn(nil, limit, name, args...)
}

// commandIn is command in an environment; nil is the test's own.
func commandIn(env []string, limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	cmd.WaitDelay = time.Second // a daemon that was started must not hold us by our pipe
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("timed out after %s", limit)
	}
	return out.String(), err
}

// status is what `kubus status -o json` tells.
type status struct {
	Healthy  bool   `json:"healthy"`
	Instance string `json:"instance"`
	Services []struct {
		Name    string `json:"name"`
		PID     int    `json:"pid"`
		Healthy bool   `json:"healthy"`
	} `json:"services"`
	Problems []string `json:"problems"`
}

func (c *cluster) status() (*status, error) {
	out, err := c.kubus("status", "-o", "json")
	s := &status{}
	if jsonErr := json.Unmarshal([]byte(out), s); jsonErr != nil {
		return nil, fmt.Errorf("%w: %s", jsonErr, out)
	}
	return s, err
}

// pods gives name and a field of each pod of a selector.
func (c *cluster) pods(selector, field string) (map[string]string, error) {
	out, err := c.try("get", "pods", "-l", selector, "-o", `jsonpath={range .items[*]}{.metadata.name}={`+field+`}{"\n"}{end}`)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	pods := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if name, value, ok := strings.Cut(line, "="); ok {
			pods[name] = value
		}
	}
	return pods, nil
}

// one gives one pod of a selector.
func (c *cluster) one(t *testing.T, selector string) string {
	t.Helper()
	pods, err := c.pods(selector, ".status.phase}{.metadata.deletionTimestamp") // not one that is being deleted
	if err != nil {
		t.Fatal(err)
	}
	for name, phase := range pods {
		if phase == "Running" {
			return name
		}
	}
	t.Fatalf("no running pod of %s: %v", selector, pods)
	return ""
}

func (c *cluster) get(t *testing.T, what, path string) string {
	t.Helper()
	return strings.TrimSpace(c.run(t, "get", what, "-o", "jsonpath={"+path+"}"))
}

// dump prints what helps to understand a failure.
func (c *cluster) dump(t *testing.T) {
	for _, args := range [][]string{{"get", "nodes,pods,deployments,replicasets,services,endpointslices", "-A", "-o", "wide"}, {"get", "events", "-A"}, {"describe", "pods"}} {
		out, err := command(20*time.Second, filepath.Join(*binDir, "kubectl"), append([]string{"--kubeconfig", c.config}, args...)...)
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, lastBytes(out, 12000))
	}
	out, _ := c.kubus("status")
	t.Log(out)
	logs, _ := filepath.Glob(filepath.Join(c.dir, "log", "*.log"))
	for _, file := range logs {
		data, _ := os.ReadFile(file)
		t.Logf("%s:\n%s", filepath.Base(file), lastBytes(string(data), 6000))
	}
}

func lastBytes(s string, most int) string { return s[max(0, len(s)-most):] }

// eventually waits for a condition with a deadline.
func eventually(t *testing.T, limit time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
