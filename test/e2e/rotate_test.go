package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// key reads a file of the instance's keys.
func (c *cluster) key(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.dir, "pki", file))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// opens tells whether the bus takes a key that somebody has.
func (c *cluster) opens(t *testing.T, address string, seed []byte) bool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stolen.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := nats.NkeyOptionFromSeed(file)
	if err != nil {
		t.Fatal(err)
	}
	options := []nats.Option{key, nats.Timeout(20 * time.Second)}
	if !strings.HasPrefix(address, "nats://") {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(c.key(t, "bus-ca.crt"))
		options = append(options, nats.Secure(&tls.Config{RootCAs: roots}))
	}
	conn, err := nats.Connect(address, options...)
	if errors.Is(err, nats.ErrAuthorization) {
		return false
	}
	if err != nil {
		t.Fatalf("asking the bus at %s: %v", address, err)
	}
	conn.Close()
	return true
}

// bus is where the services of an instance, or its further nodes, find its own bus.
func (c *cluster) bus(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "config", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	further, err := filepath.Glob(filepath.Join(c.dir, "nodes", "*", "config", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, further...)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if address := regexp.MustCompile(`tls://[0-9.]+:[0-9]+`).Find(data); address != nil {
			return string(address)
		}
	}
	t.Fatalf("no bus in %v", files)
	return ""
}

// writers write into the cluster without a pause, and keep what was acknowledged.
type writers struct {
	client *http.Client
	url    string
	stop   context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	made    map[string]string // ConfigMaps and what they say
	counted map[string]int    // the last value that was acknowledged, of a ConfigMap that one writer changes
	longest time.Duration     // between two acknowledgements
	last    time.Time
}

const configMapsOf = "/api/v1/namespaces/default/configmaps"

// startWriters has some go on until the test ends or check is called.
func (c *cluster) startWriters(t *testing.T, how int) *writers {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{client: client, url: config.Host, stop: cancel, made: map[string]string{}, counted: map[string]int{}, last: time.Now()}
	for k := range how {
		counter := fmt.Sprintf("counter-%d", k)
		if err := w.send(ctx, "POST", configMapsOf, counter, "0"); err != nil {
			t.Fatal(err)
		}
		w.wait.Go(func() { w.write(ctx, k, counter) })
	}
	t.Cleanup(func() {
		cancel()
		w.wait.Wait()
	})
	return w
}

func (w *writers) write(ctx context.Context, k int, counter string) {
	for n := 1; ctx.Err() == nil; n++ {
		name, value := fmt.Sprintf("made-%d-%d", k, n), fmt.Sprint(n)
		made, counted := w.send(ctx, "POST", configMapsOf, name, value), w.send(ctx, "PATCH", configMapsOf+"/"+counter, counter, value)
		w.mu.Lock()
		if made == nil {
			w.made[name] = value
		}
		if counted == nil {
			w.counted[counter] = n
		}
		if made == nil || counted == nil {
			now := time.Now()
			w.longest, w.last = max(w.longest, now.Sub(w.last)), now
		}
		w.mu.Unlock()
	}
}

func (w *writers) send(ctx context.Context, method, path, name, value string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": name}, "data": map[string]string{"n": value}})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", map[string]string{"POST": "application/json", "PATCH": "application/merge-patch+json"}[method])
	resp, err := w.client.Do(req)
	if err != nil {
		time.Sleep(5 * time.Millisecond)
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return errors.New(resp.Status)
	}
	return nil
}

// check ends them and looks for everything that was acknowledged.
func (w *writers) check(t *testing.T, c *cluster) {
	t.Helper()
	w.stop()
	w.wait.Wait()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	if err := json.Unmarshal([]byte(c.run(t, "get", "--raw", configMapsOf)), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, item := range list.Items {
		found[item.Metadata.Name] = item.Data["n"]
	}
	lost := 0
	for name, value := range w.made {
		if found[name] != value {
			lost++
		}
	}
	for name, value := range w.counted {
		var is int
		if _, err := fmt.Sscan(found[name], &is); err != nil || is < value {
			t.Errorf("%s is %q, and %d was acknowledged", name, found[name], value)
		}
	}
	if lost > 0 || len(w.made) == 0 {
		t.Errorf("of %d objects that were acknowledged %d are lost", len(w.made), lost)
	}
	t.Logf("%d objects were acknowledged, with %s at most between two", len(w.made), w.longest.Round(time.Millisecond))
}

// busOf is a NATS of somebody else's with the accounts of an instance, whose owner has it
// read its configuration again whenever they change, until the test ends.
func busOf(t *testing.T, dir, address string) error {
	accounts := filepath.Join(dir, "config", "nats-accounts.conf")
	var known []byte
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		data, err := os.ReadFile(accounts)
		if err == nil {
			known = data
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
	logs := &output{}
	server := exec.Command(filepath.Join(*binDir, "nats-server"), "-c", conf)
	server.Stdout, server.Stderr = logs, logs
	if err := server.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var owner sync.WaitGroup
	owner.Go(func() {
		for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			if data, err := os.ReadFile(accounts); err == nil && !bytes.Equal(data, known) {
				known = data
				_ = server.Process.Signal(syscall.SIGHUP)
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		owner.Wait()
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("their NATS:\n%s", lastBytes(logs.String(), 6000))
		}
	})
	return nil
}

// rotation is what is rotated, and whether it can be with a NATS of somebody else's.
type rotation struct {
	words  []string
	keys   []string // whose change, of those that are looked at
	theirs bool
}

var (
	rotateSome = rotation{[]string{"agent", "controllers-nodes"}, []string{"agent", "controllers-nodes"}, true}
	rotateAll  = rotation{nil, []string{"gateway", "scheduler", "agent", "proxy", "controllers-nodes"}, true}
	rotateLog  = rotation{[]string{"log"}, nil, true}
	rotateCA   = rotation{[]string{"bus-ca"}, nil, false}
)

// New keys on several nodes, on the cluster's own bus and on somebody else's: what was
// acknowledged meanwhile is there, all nodes take new pods, containers go on, and the old
// keys open nothing. With -rotations everything in each form on each bus.
func TestKeysAreRotatedWhilePodsRun(t *testing.T) {
	need(t, true, append(nodePrograms, "nats-server", "kubus-gateway", "kubus-agent", "kubus-proxy")...)
	for _, c := range []struct {
		name, form string
		theirs     bool
		usual      []rotation
	}{
		{"all in one on its own bus", "allinone", false, nil},
		{"all in one on somebody else's bus", "allinone", true, []rotation{rotateAll}},
		{"services on their own bus", "services", false, []rotation{rotateSome, rotateLog}},
		{"services on somebody else's bus", "services", true, nil},
	} {
		if len(c.usual) == 0 && !*rotations {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			count, steps := 2, c.usual
			if *rotations {
				count, steps = 3, []rotation{rotateSome, rotateAll, rotateLog, rotateCA}
			}
			var address string
			extra := []string{"--form", c.form}
			if c.theirs {
				_, port, _ := strings.Cut(freeAddress(t), ":")
				address = "nats://" + machineAddress(t) + ":" + port
				extra = append(extra, "--store", address, "--store-nkey", "own")
			}
			n := newNodes(t, "e2e-keys", c.form, count, extra...)
			started := make(chan error, 1)
			if c.theirs {
				go func() { started <- busOf(t, n.dir, strings.TrimPrefix(address, "nats://")) }()
			} else {
				started <- nil
			}
			out, err := n.kubus(append([]string{"up", "--detach"}, n.flags()[2:]...)...)
			if err := errors.Join(err, <-started); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !c.theirs {
				address = n.bus(t)
			}
			steps = slices.DeleteFunc(slices.Clone(steps), func(r rotation) bool { return c.theirs && !r.theirs })
			n.rotate(t, address, steps)
		})
	}
}

func (n *nodes) rotate(t *testing.T, address string, steps []rotation) {
	n.apply(t, daemons("before"))
	n.run(t, "rollout", "status", "daemonset/before", "--timeout=60s")
	containers := n.containers(t)
	w := n.startWriters(t, 4)
	looked := map[string]string{"gateway": "gateway", "scheduler": "scheduler", "controllers-nodes": "controllers-nodes"} // key, and what it is of
	for _, node := range n.names {
		looked["agent-"+node], looked["proxy-"+node] = "agent", "proxy"
	}
	for i, step := range steps {
		old := map[string][]byte{}
		for key := range looked {
			old[key] = n.key(t, "bus/"+key+".nk")
		}
		out, err := n.kubus(append([]string{"keys", "rotate"}, step.words...)...)
		if err != nil {
			t.Fatalf("rotating %v: %v\n%s", step.words, err, out)
		}
		t.Logf("rotating %v:\n%s", step.words, out)
		for key, of := range looked {
			now, changes := n.key(t, "bus/"+key+".nk"), slices.Contains(step.keys, of)
			if bytes.Equal(now, old[key]) == changes {
				t.Errorf("rotating %v: that the key of %s changed is %v", step.words, key, !changes)
			}
			if !n.opens(t, address, now) {
				t.Errorf("rotating %v: the key of %s does not open the bus", step.words, key)
			}
			if changes && n.opens(t, address, old[key]) {
				t.Errorf("rotating %v: the old key of %s opens the bus", step.words, key)
			}
		}
		name := fmt.Sprintf("after-%d", i)
		n.apply(t, daemons(name))
		n.run(t, "rollout", "status", "daemonset/"+name, "--timeout=60s")
		n.run(t, "wait", "--for=condition=Ready", "node", "--all", "--timeout=30s")
		if ready := n.on(t, "app="+name); len(ready) != len(n.names) {
			t.Errorf("after rotating %v new pods are on %v", step.words, ready)
		}
	}
	w.check(t, n.cluster)
	if now := n.containers(t); !maps.Equal(now, containers) {
		t.Errorf("containers were %v and are %v", containers, now)
	}
}

// containers gives of each pod of before the container that runs, and how often it started.
func (n *nodes) containers(t *testing.T) map[string]string {
	t.Helper()
	pods, err := n.pods("app=before", ".status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount")
	if err != nil || len(pods) != len(n.names) {
		t.Fatalf("%v %v", pods, err)
	}
	return pods
}

// daemons has a pod on each node.
func daemons(name string) string {
	return strings.NewReplacer("IMAGES", hub, "NAME", name).Replace(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: IMAGES/web:v1
        readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
`)
}
