package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kubus.dev/test/registry"
)

// hub is a registry that is not there: nodes ask a mirror of it.
const hub = "images.invalid"

// nodes is a cluster of several nodes on this machine.
type nodes struct {
	*cluster
	names []string
}

// newNodes is a cluster of so many nodes that does not run yet. Nodes that do not answer
// count as lost soon, and how full the machine's disk is ends no pods.
func newNodes(t *testing.T, name, form string, count int, extra ...string) *nodes {
	t.Helper()
	address := machineAddress(t)
	own, err := registry.Start(address+":0", web)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	dir := t.TempDir()
	settings, registries := filepath.Join(dir, "settings.yaml"), filepath.Join(dir, "registries.yaml")
	for file, text := range map[string]string{
		settings:   "agent: {registriesFile: " + registries + ", evictionHard: {nodefs.available: 1%}}\ncontrollers: {nodeGracePeriod: 20s}\n",
		registries: "mirrors: {" + hub + ": {endpoint: [\"http://" + own.Address + "\"]}}\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := &nodes{names: []string{name}}
	n.cluster = newCluster(t, name, form, append([]string{"--nodes", strconv.Itoa(count), "--settings", settings}, extra...)...)
	for number := 2; number <= count; number++ {
		n.names = append(n.names, fmt.Sprintf("%s-%d", name, number))
	}
	return n
}

// machineAddress is one that further nodes reach; loopback is each node's own.
func machineAddress(t *testing.T) string {
	t.Helper()
	c, err := net.Dial("udp4", "198.51.100.1:9") // sends nothing
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}

func (n *nodes) up(t *testing.T) {
	t.Helper()
	if out, err := n.makeUp(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	} else {
		t.Log(out)
	}
}

// everywhere has a pod on each node, with a port of the node, and Services in front.
func (n *nodes) everywhere() string {
	return strings.ReplaceAll(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: each}
spec:
  selector: {matchLabels: {app: each}}
  template:
    metadata: {labels: {app: each}}
    spec:
      containers:
      - name: web
        image: IMAGES/web:v1
        ports: [{containerPort: 8080, hostPort: 18080}]
        readinessProbe: {httpGet: {path: /readyz, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: each}
spec: {type: NodePort, selector: {app: each}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: host}
spec:
  selector: {matchLabels: {app: host}}
  template:
    metadata: {labels: {app: host}}
    spec:
      hostNetwork: true
      containers:
      - name: web
        image: IMAGES/web:v1
        args: ["-listen", ":18081"]
        readinessProbe: {httpGet: {path: /readyz, port: 18081}}
`, "IMAGES", hub)
}

// moving has pods that leave a lost node soon, on the further nodes where they can be.
func (n *nodes) moving() string {
	return strings.NewReplacer("IMAGES", hub, "FIRST", n.names[0]).Replace(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: moves}
spec:
  replicas: 4
  selector: {matchLabels: {app: moves}}
  template:
    metadata: {labels: {app: moves}}
    spec:
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - {weight: 100, preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: NotIn, values: [FIRST]}]}}
      containers:
      - name: web
        image: IMAGES/web:v1
        readinessProbe: {httpGet: {path: /readyz, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: moves}
spec: {selector: {app: moves}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: stays}
spec:
  serviceName: stays
  selector: {matchLabels: {app: stays}}
  template:
    metadata: {labels: {app: stays}}
    spec:
      terminationGracePeriodSeconds: 1
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - {weight: 100, preference: {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [FIRST-2]}]}}
      containers:
      - name: sh
        image: IMAGES/busybox:1
        command: [sh, -c, "date +%N >> /data/starts; exec sleep 100000"]
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
`)
}

// on gives the pods of a selector by their node.
func (n *nodes) on(t *testing.T, selector string) map[string]string {
	t.Helper()
	pods, err := n.pods(selector, ".spec.nodeName")
	if err != nil {
		t.Fatal(err)
	}
	byNode := map[string]string{}
	for pod, node := range pods {
		if slices.Contains(n.names, node) { // not on one that was removed
			byNode[node] = pod
		}
	}
	return byNode
}

// fetch asks from inside a pod until the answer has some text.
func (n *nodes) fetch(t *testing.T, pod, url, has string) {
	t.Helper()
	eventually(t, 20*time.Second, url+" answers "+pod, func() error {
		out, err := n.try("exec", pod, "--", "/web", "-get", url)
		if err != nil || !strings.Contains(out, has) {
			return fmt.Errorf("%v: %q", err, out)
		}
		return nil
	})
}

// ask asks from the machine.
func ask(url string) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// A machine that is several nodes: pods, Services, names and streams work from and to each.
func TestSeveralNodesOnOneMachine(t *testing.T) {
	need(t, true, append(nodePrograms, "kubus-agent", "kubus-proxy")...)
	before := snapshot(t)
	n := newNodes(t, "e2e-nodes", "allinone", 3)
	step := func(name string, f func(t *testing.T)) {
		if !t.Run(name, f) {
			t.FailNow() // what follows builds on it
		}
	}
	may := func(name string, f func(t *testing.T)) { t.Run(name, f) }
	step("up --nodes 3 starts three nodes with addresses of their own", n.start3)
	m := n.marks(t)
	may("pods of all nodes reach each other, Services, names and the API", n.meet)
	may("NodePort, hostPort and hostNetwork belong to each node", n.ports)
	may("exec, logs, port-forward and the API's proxy reach each node", n.streams)
	step("a drained node's pods move, and uncordon takes it back", n.drain)
	may("an agent that is killed restarts nothing", n.killAgent)
	step("of a node cut off and one destroyed the pods are soon elsewhere, and the Service answers", n.lose)
	step("the node that comes back has no pod twice, and the claim's pod its data", n.comeBack)
	may("a node is removed and another one added while the cluster runs", n.replace)
	step("down --purge leaves the machine as it was", func(t *testing.T) {
		if out, err := n.kubus("down", "--purge", "--yes"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		unchanged(t, before, m)
	})
}

// In the other form, with tunnels between the nodes.
func TestNodesInTunnelsWithAProcessForEachService(t *testing.T) {
	need(t, true, append(nodePrograms, "nats-server", "kubus-gateway", "kubus-agent", "kubus-proxy")...)
	before := snapshot(t)
	n := newNodes(t, "e2e-tunnel", "services", 2, "--pod-network", "vxlan")
	n.up(t)
	m := n.marks(t)
	n.apply(t, n.everywhere())
	n.run(t, "rollout", "status", "daemonset/each", "--timeout=60s")
	n.run(t, "rollout", "status", "daemonset/host", "--timeout=60s")
	n.meet(t)
	n.ports(t)
	n.streams(t)
	n.archive(t)
	if out, err := n.kubus("down", "--purge", "--yes"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	unchanged(t, before, m)
}

// marks waits until all processes are well.
func (n *nodes) marks(t *testing.T) marks {
	t.Helper()
	var m marks
	eventually(t, 30*time.Second, "the cluster is healthy", func() error {
		s, err := n.status()
		if err != nil {
			return err
		}
		m = traces(n.dir, s.Instance)
		return nil
	})
	return m
}

func (n *nodes) start3(t *testing.T) {
	n.up(t)
	addresses := map[string]string{}
	for _, name := range n.names {
		n.run(t, "wait", "--for=condition=Ready", "node/"+name, "--timeout=1s") // up has waited
		addresses[n.get(t, "node/"+name, `.status.addresses[?(@.type=="InternalIP")].address`)] = name
	}
	if len(addresses) != 3 {
		t.Errorf("the nodes' addresses are %v", addresses)
	}
	n.apply(t, n.everywhere())
	n.run(t, "rollout", "status", "daemonset/each", "--timeout=60s")
	n.run(t, "rollout", "status", "daemonset/host", "--timeout=60s")
}

// archive takes an image to one node by hand, and off it again.
func (n *nodes) archive(t *testing.T) {
	t.Helper()
	const name = "by-hand.invalid/web:v1"
	file := filepath.Join(t.TempDir(), "web.tar")
	if err := registry.Save(file, name, web); err != nil {
		t.Fatal(err)
	}
	node := n.names[len(n.names)-1]
	if out, err := n.kubus("image", "import", file, "--node", node); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.run(t, "run", "by-hand", "--image="+name, "--image-pull-policy=Never", "--overrides", `{"spec":{"nodeName":"`+node+`"}}`)
	n.run(t, "wait", "--for=condition=Ready", "pod/by-hand", "--timeout=30s")
	if out, err := n.kubus("image", "remove", name, "--node", node); err == nil || !strings.Contains(out, "image is in use") {
		t.Errorf("an image in use was removed: %v\n%s", err, out)
	}
	n.run(t, "delete", "pod/by-hand", "--now")
	if out, err := n.kubus("image", "remove", name, "--node", node); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	out, err := n.kubus("image", "list")
	if err != nil || strings.Contains(out, name) || strings.Count(out, hub+"/web:v1") != len(n.names) {
		t.Errorf("%v\n%s", err, out)
	}
}

func (n *nodes) meet(t *testing.T) {
	each := n.on(t, "app=each")
	if len(each) != len(n.names) {
		t.Fatalf("pods are on %v, want one on each of %v", each, n.names)
	}
	service := n.get(t, "service/each", ".spec.clusterIP")
	for _, pod := range each {
		for _, other := range each {
			n.fetch(t, pod, "http://"+n.get(t, "pod/"+other, ".status.podIP")+":8080/", other)
		}
		n.fetch(t, pod, "http://"+service+"/", "v1")
		n.fetch(t, pod, "http://each.default.svc.cluster.local/", "v1")
		n.fetch(t, pod, "https://kubernetes.default/version", "gitVersion")
	}
}

func (n *nodes) ports(t *testing.T) {
	port := n.get(t, "service/each", ".spec.ports[0].nodePort")
	for _, name := range n.names {
		ip := n.get(t, "node/"+name, `.status.addresses[?(@.type=="InternalIP")].address`)
		for _, p := range []string{port, "18080", "18081"} {
			eventually(t, 20*time.Second, name+" answers at "+p, func() error { return ask("http://" + net.JoinHostPort(ip, p) + "/") })
		}
		for _, pod := range n.on(t, "app=each") { // also one to which the port leads back
			for _, other := range n.on(t, "app=each") {
				n.fetch(t, pod, "http://"+net.JoinHostPort(ip, port)+"/", other)
			}
		}
	}
}

func (n *nodes) streams(t *testing.T) {
	for node, pod := range n.on(t, "app=each") {
		if out := n.run(t, "exec", pod, "--", "cat", "/etc/hostname"); strings.TrimSpace(out) != pod {
			t.Errorf("exec on %s: %q", node, out)
		}
		n.run(t, "logs", pod)
		if out := n.run(t, "get", "--raw", "/api/v1/namespaces/default/pods/"+pod+":8080/proxy/"); !strings.Contains(out, pod) {
			t.Errorf("the API's proxy to %s: %q", node, out)
		}
		_, out := n.cluster.start(t, "port-forward", pod, ":8080")
		eventually(t, 10*time.Second, "port-forward to "+node, func() error {
			_, rest, ok := strings.Cut(out.String(), "Forwarding from 127.0.0.1:")
			local, _, _ := strings.Cut(rest, " ")
			if !ok {
				return fmt.Errorf("it says %q", out.String())
			}
			return ask("http://127.0.0.1:" + local + "/")
		})
	}
}

func (n *nodes) drain(t *testing.T) {
	n.apply(t, n.moving())
	n.run(t, "rollout", "status", "deployment/moves", "--timeout=60s")
	n.run(t, "rollout", "status", "statefulset/stays", "--timeout=60s")
	third := n.names[2]
	if n.on(t, "app=moves")[third] == "" {
		t.Fatalf("no pod is on %s to be moved", third)
	}
	if out, err := n.kubus("node", "drain", third); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, 30*time.Second, "the pods are elsewhere", func() error {
		if pod := n.on(t, "app=moves")[third]; pod != "" {
			return fmt.Errorf("%s is on %s", pod, third)
		}
		_, err := n.try("rollout", "status", "deployment/moves", "--timeout=1s")
		return err
	})
	out, err := n.kubus("node", "list")
	if err != nil || !strings.Contains(out, "true, cordoned") {
		t.Errorf("node list: %v\n%s", err, out)
	}
	if out, err := n.kubus("node", "uncordon", third); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.run(t, "delete", "pods", "-l", "app=moves", "--now") // they come back on both further nodes
	n.run(t, "rollout", "status", "deployment/moves", "--timeout=60s")
}

func (n *nodes) killAgent(t *testing.T) {
	pids := func() (agent int) {
		s, err := n.status()
		if err != nil {
			return 0
		}
		for _, p := range s.Services {
			if p.Name == "node-2-agent" && p.Healthy {
				agent = p.PID
			}
		}
		return agent
	}
	restarts, err := n.pods("app", ".status.containerStatuses[0].restartCount")
	if err != nil {
		t.Fatal(err)
	}
	old := pids()
	if old == 0 {
		t.Fatal("the second node has no agent")
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the agent is there again", func() error {
		if p := pids(); p == 0 || p == old {
			return fmt.Errorf("its process is %d, was %d", p, old)
		}
		return nil
	})
	after, err := n.pods("app", ".status.containerStatuses[0].restartCount")
	if err != nil || fmt.Sprint(after) != fmt.Sprint(restarts) {
		t.Errorf("pods and their restarts were %v, now %v, %v", restarts, after, err)
	}
}

// link is the machine's end of a node's link.
func (n *nodes) link(t *testing.T, number int) string {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/sys/class/net/kn*-%d", number))
	if err != nil {
		t.Fatal(err)
	}
	s, err := n.status()
	if s == nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if mark := traces(n.dir, s.Instance)[3]; strings.Contains(l, mark) {
			return filepath.Base(l)
		}
	}
	t.Fatalf("node %d has no link", number)
	return ""
}

func ipLink(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", append([]string{"link"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ip link %v: %v\n%s", args, err, out)
	}
}

// destroy takes a whole node away at once, as a power cut does: its place first, so that
// nothing of it is started again, then whatever runs in it.
func (n *nodes) destroy(t *testing.T, number int) {
	t.Helper()
	link := n.link(t, number)
	s, err := n.status()
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("%s-%d", s.Instance, number)
	for _, kind := range []string{"net", "uts"} {
		if err := syscall.Unmount("/run/kubus/"+id+"-ns/"+kind, syscall.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range s.Services {
		if strings.HasPrefix(p.Name, fmt.Sprintf("node-%d-", number)) {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	for range 2 { // shims, and what they held
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
			cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			if strings.Contains(string(groups), "/kubus-"+id+"/") || strings.HasPrefix(string(cmdline), "kubus-shim\x00/run/kubus/"+id+"/") {
				pid, _ := strconv.Atoi(filepath.Base(dir))
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	ipLink(t, "set", link, "down")
}

func (n *nodes) lose(t *testing.T) {
	second, third := n.names[1], n.names[2]
	n.destroy(t, 3)
	ipLink(t, "set", n.link(t, 2), "down")
	for _, name := range []string{second, third} {
		n.run(t, "wait", "--for=condition=Ready=Unknown", "node/"+name, "--timeout=60s")
	}
	url := "http://" + n.get(t, "service/moves", ".spec.clusterIP") + "/"
	eventually(t, 60*time.Second, "all pods are on the node that is left", func() error {
		ready, err := n.pods("app=moves", ".spec.nodeName} {.status.conditions[?(@.type==\"Ready\")].status} {.metadata.deletionTimestamp")
		if err != nil {
			return err
		}
		well := 0
		for _, state := range ready {
			if strings.HasPrefix(state, n.names[0]+" True") {
				well++
			}
		}
		if well != 4 {
			return fmt.Errorf("they are %v", ready)
		}
		return nil
	})
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var asked, failed atomic.Int64
	for ctx.Err() == nil {
		asked.Add(1)
		if err := ask(url); err != nil {
			failed.Add(1)
			t.Logf("request %d: %v", asked.Load(), err)
		}
	}
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), asked.Load())
	}
	// The claim's data is on the node that is cut off: nobody but it may run the pod.
	if pods, err := n.pods("app=stays", ".spec.nodeName"); err != nil || fmt.Sprint(pods) != fmt.Sprint(map[string]string{"stays-0": second}) {
		t.Errorf("the pod with the claim: %v, %v", pods, err)
	}
}

func (n *nodes) comeBack(t *testing.T) {
	second := n.names[1]
	ipLink(t, "set", n.link(t, 2), "up")
	n.run(t, "wait", "--for=condition=Ready", "node/"+second, "--timeout=60s")
	eventually(t, 60*time.Second, "what was to leave the node has left it", func() error {
		pods, err := n.pods("app=moves", ".spec.nodeName")
		if err != nil {
			return err
		}
		here := 0
		for _, node := range pods {
			if node == n.names[0] {
				here++
			}
			if node == second {
				return fmt.Errorf("they are %v", pods)
			}
		}
		if here != 4 {
			return fmt.Errorf("they are %v", pods)
		}
		return nil
	})
	eventually(t, 60*time.Second, "the pod with the claim is Ready on its node", func() error {
		if _, err := n.try("wait", "--for=condition=Ready", "pod/stays-0", "--timeout=1s"); err != nil {
			return err
		}
		if node := n.get(t, "pod/stays-0", ".spec.nodeName"); node != second {
			t.Fatalf("it is on %s", node)
		}
		return nil
	})
	starts := strings.Count(n.run(t, "exec", "stays-0", "--", "cat", "/data/starts"), "\n")
	if starts < 1 || starts > 2 { // once, and once more when it was evicted meanwhile
		t.Errorf("it was started %d times", starts)
	}
	each := n.on(t, "app=each")
	n.fetch(t, each[second], "http://"+n.get(t, "pod/"+each[n.names[0]], ".status.podIP")+":8080/", "v1")
}

func (n *nodes) replace(t *testing.T) {
	third := n.names[2]
	if out, err := n.kubus("node", "remove", third, "--force"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := n.try("get", "node", third); err == nil {
		t.Errorf("the node is still there: %s", out)
	}
	if out, err := n.kubus("node", "add", "e2e-new"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.names[2] = "e2e-new"
	eventually(t, 30*time.Second, "there is a pod on the new node", func() error {
		each := n.on(t, "app=each")
		if each["e2e-new"] == "" {
			return fmt.Errorf("they are on %v", each)
		}
		_, err := n.try("wait", "--for=condition=Ready", "pod/"+each["e2e-new"], "--timeout=1s")
		return err
	})
	n.meet(t)
}
