package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
)

var nodePrograms = []string{"kubus", "kubus-keeper", "kubectl", "runc", "kubus-shim"}

func TestTheMainJobInOneProcess(t *testing.T) {
	need(t, true, nodePrograms...)
	mainJob(t, "e2e-one", "allinone")
}

func TestTheMainJobWithAProcessForEachService(t *testing.T) {
	need(t, true, append(nodePrograms, "nats-server", "kubus-gateway", "kubus-agent")...)
	mainJob(t, "e2e-many", "services")
}

// job is the main job on one cluster.
type job struct {
	*cluster
	manifest string
}

func mainJob(t *testing.T, node, form string) {
	before := snapshot(t)
	c := newCluster(t, node, form)
	data, err := os.ReadFile(filepath.Join(top, "examples", "guestbook.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	j := &job{cluster: c, manifest: strings.ReplaceAll(string(data), "127.0.0.1:5000", images.Address)}

	step := func(name string, f func(t *testing.T)) {
		if !t.Run(name, f) {
			t.FailNow() // what follows builds on it
		}
	}
	may := func(name string, f func(t *testing.T)) { t.Run(name, f) }

	step("make up starts a cluster and prints three commands that work when pasted", j.up)
	may("a second make up changes nothing and says so", j.upAgain)
	m := j.marks(t)
	may("nothing listens or can be read beyond need", j.reach)
	step("a Deployment with its ConfigMap, Secret and Service is applied and rolls out", j.deploy)
	may("kubectl shows pods, descriptions and events", j.look)
	may("the node tells Prometheus what pods take", j.metered)
	may("environment and volumes hold the ConfigMap and the Secret", j.settings)
	may("logs are followed", j.logs)
	may("exec gives a shell on a terminal, and exit codes", j.exec)
	may("port-forward reaches a container", j.portForward)
	may("cp copies into a container and back", j.copy)
	may("the Service answers the host at its ClusterIP, from every replica", j.fromHost)
	may("the Service answers a pod by address and by name", j.fromPod)
	may("an address of the service range that no Service owns is refused", j.unowned)
	may("scale goes up and down", j.scale)
	may("set image rolls without a failed request", j.roll)
	may("a bad image stops the roll with the old pods serving, and rollout undo recovers", j.badRoll)
	may("a deleted pod is replaced", j.replace)
	may("a container that ends is restarted in place and counted", j.restart)
	may("readiness takes a pod out of the Service and back", j.readiness)
	may("liveness restarts a container", j.liveness)
	may("exec and TCP probes act", j.otherProbes)
	may("bad images, crashes and wrong commands say what is wrong", j.badInput)
	step("every process may be killed: containers, connections, data and logs live on", j.kill)
	may("with both keepers killed everything goes on, and up takes it over", j.killKeepers)
	may("delete -f removes everything of the example", j.delete)
	step("down leaves nothing running, and up goes on with the data", func(t *testing.T) { j.downAndUp(t, before, m) })
	step("down --purge leaves the machine as it was", func(t *testing.T) {
		if out, err := j.kubus("down", "--purge", "--yes"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if _, err := os.Stat(j.dir); !os.IsNotExist(err) {
			t.Errorf("the data directory is still there: %v", err)
		}
		unchanged(t, before, m)
	})
}

func (j *job) marks(t *testing.T) marks {
	t.Helper()
	s, err := j.status()
	if err != nil {
		t.Fatalf("status: %v %+v", err, s)
	}
	return traces(j.dir, s.Instance)
}

func (j *job) up(t *testing.T) {
	out, err := j.makeUp()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Log(out)
	_, text, ok := strings.Cut(out, "Next:\n")
	commands := strings.Split(strings.TrimSpace(text), "\n")
	if !ok || len(commands) < 3 {
		t.Fatalf("three commands were not printed:\n%s", out)
	}
	for _, line := range commands[:3] {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir = top
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
	j.run(t, "wait", "--for=condition=Ready", "node/"+j.node, "--timeout=30s")
}

func (j *job) upAgain(t *testing.T) {
	first, err := j.status()
	if err != nil {
		t.Fatal(err)
	}
	out, err := j.makeUp()
	if err != nil || !strings.Contains(out, "already up") {
		t.Fatalf("%v\n%s", err, out)
	}
	second, err := j.status()
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(first.Services) != fmt.Sprint(second.Services) {
		t.Errorf("processes changed from %v to %v", first.Services, second.Services)
	}
}

func (j *job) deploy(t *testing.T) {
	j.apply(t, j.manifest)
	j.run(t, "rollout", "status", "deployment/web", "--timeout=60s")
	pods, err := j.cluster.pods("app=web", ".status.phase")
	if err != nil || len(pods) != 3 {
		t.Fatalf("want three pods, got %v, %v", pods, err)
	}
}

// metered reads what a kubelet's /metrics/cadvisor has, as a Prometheus does through the API.
func (j *job) metered(t *testing.T) {
	pod := j.one(t, "app=web")
	text := j.run(t, "get", "--raw", "/api/v1/nodes/"+j.node+"/proxy/metrics/cadvisor")
	for _, metric := range []string{
		"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_memory_rss", "container_threads", "container_network_receive_bytes_total",
	} {
		pattern := regexp.MustCompile(`(?m)^` + metric + `\{[^}]*namespace="default",pod="` + pod + `"\} ([0-9.e+]+) `)
		if m := pattern.FindStringSubmatch(text); m == nil || m[1] == "0" {
			t.Errorf("of %s there is %q in\n%s", metric, m, text)
		}
	}
	for path, pattern := range map[string]string{
		"metrics":        `(?m)^kubelet_running_pods [1-9]`,
		"metrics/probes": `(?m)^prober_probe_total\{container="web",namespace="default",pod="` + pod + `",pod_uid="[^"]+",probe_type="Readiness",result="successful"\} [1-9]`,
		"configz":        `^\{"kubeletconfig":\{.*"kind":"KubeletConfiguration"`,
	} {
		if text := j.run(t, "get", "--raw", "/api/v1/nodes/"+j.node+"/proxy/"+path); !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("/%s does not match %s:\n%s", path, pattern, text)
		}
	}
}

func (j *job) look(t *testing.T) {
	out := j.run(t, "get", "pods", "-o", "wide")
	for _, want := range []string{"NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "1/1", "Running", j.node} {
		if !strings.Contains(out, want) {
			t.Errorf("get pods -o wide lacks %q:\n%s", want, out)
		}
	}
	out = j.run(t, "describe", "deployment", "web")
	for _, want := range []string{"3 desired", "3 available", "RollingUpdate", "ScalingReplicaSet"} {
		if !strings.Contains(out, want) {
			t.Errorf("describe deployment lacks %q:\n%s", want, out)
		}
	}
	out = j.run(t, "describe", "pod", j.one(t, "app=web"))
	for _, want := range []string{"Successfully assigned", "Pulled", "Created", "Started", "Liveness", "Readiness", "kube-api-access"} {
		if !strings.Contains(out, want) {
			t.Errorf("describe pod lacks %q:\n%s", want, out)
		}
	}
	out = j.run(t, "describe", "node", j.node)
	for _, want := range []string{"HolderIdentity:  " + j.node, "RenewTime:", "Allocated resources"} {
		if !strings.Contains(out, want) {
			t.Errorf("describe node lacks %q:\n%s", want, out)
		}
	}
	out = j.run(t, "get", "events")
	for _, want := range []string{"Scheduled", "SuccessfulCreate", "Started"} {
		if !strings.Contains(out, want) {
			t.Errorf("get events lacks %q:\n%s", want, out)
		}
	}
}

func (j *job) settings(t *testing.T) {
	pod := j.one(t, "app=web")
	for command, want := range map[string]string{
		"echo $GREETING":                                   "hello",
		"echo $PASSWORD":                                   "correct horse",
		"cat /etc/web/greeting":                            "hello",
		"cat /etc/web-secret/password":                     "correct horse",
		"ls /var/run/secrets/kubernetes.io/serviceaccount": "ca.crt\nnamespace\ntoken",
	} {
		if out := strings.TrimSpace(j.run(t, "exec", pod, "--", "sh", "-c", command)); out != want {
			t.Errorf("%s: got %q, want %q", command, out, want)
		}
	}
}

func (j *job) logs(t *testing.T) {
	pod := j.one(t, "app=web")
	_, out := j.start(t, "logs", "-f", pod)
	eventually(t, 10*time.Second, "the first line", func() error { return contains(out.String(), "serving on") })
	ip := j.get(t, "pod/"+pod, ".status.podIP")
	if _, err := fetch("http://" + ip + ":8080/"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "a line written later", func() error { return contains(out.String(), "GET /") })
	if got := j.run(t, "logs", pod, "--tail=1", "--timestamps"); !strings.Contains(got, "Z ") || strings.Count(got, "\n") != 1 {
		t.Errorf("logs --tail=1 --timestamps: %q", got)
	}
}

func (j *job) exec(t *testing.T) {
	pod := j.one(t, "app=web")
	cmd := exec.Command(filepath.Join(*binDir, "kubectl"), "--kubeconfig", j.config, "exec", "-it", pod, "--", "sh")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 43, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	out := &output{}
	go func() { _, _ = io.Copy(out, terminal) }() // ends with the terminal
	// The size is told beside the input, and may come a moment after it.
	fmt.Fprintf(terminal, "for i in $(seq 50); do stty size 2>/dev/null && break; sleep 0.1; done; hostname; exit 7\n")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatalf("the shell did not end:\n%s", out)
	}
	if cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("exit code %d (%v), want 7", cmd.ProcessState.ExitCode(), err)
	}
	for _, want := range []string{"43 101", pod} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the shell's output lacks %q:\n%s", want, out)
		}
	}
	in := exec.Command(filepath.Join(*binDir, "kubectl"), "--kubeconfig", j.config, "exec", "-i", pod, "--", "wc", "-c")
	in.Stdin = strings.NewReader(strings.Repeat("x", 1<<20))
	if got, err := in.CombinedOutput(); err != nil || strings.TrimSpace(string(got)) != "1048576" {
		t.Errorf("a MiB into wc -c: %v, %s", err, got)
	}
}

func (j *job) portForward(t *testing.T) {
	pod := j.one(t, "app=web")
	_, out := j.start(t, "port-forward", pod, ":8080")
	local := ""
	eventually(t, 10*time.Second, "port-forward listens", func() error {
		_, rest, ok := strings.Cut(out.String(), "Forwarding from ")
		local, _, _ = strings.Cut(rest, " ")
		if !ok || local == "" {
			return fmt.Errorf("it says %q", out)
		}
		return nil
	})
	for range 3 {
		got, err := fetch("http://" + local + "/")
		if err != nil || !strings.HasPrefix(got, pod) {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func (j *job) copy(t *testing.T) {
	pod := j.one(t, "app=web")
	dir := t.TempDir()
	want := strings.Repeat("kubus\x00\n", 40000)
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte(want), 0o640); err != nil {
		t.Fatal(err)
	}
	j.run(t, "cp", filepath.Join(dir, "a"), pod+":/tmp/a")
	j.run(t, "cp", pod+":/tmp/a", filepath.Join(dir, "b"))
	if got, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || string(got) != want {
		t.Errorf("got %d bytes back, want %d: %v", len(got), len(want), err)
	}
}

// hosts fetches n times and gives the host names that answered.
func hosts(url string, n int) (map[string]int, error) {
	seen := map[string]int{}
	for range n {
		got, err := fetch(url)
		if err != nil {
			return seen, err
		}
		name, _, _ := strings.Cut(got, " ")
		seen[name]++
	}
	return seen, nil
}

func (j *job) clusterIP(t *testing.T) string { return j.get(t, "service/web", ".spec.clusterIP") }

func (j *job) fromHost(t *testing.T) {
	eventually(t, 10*time.Second, "all three replicas answer", func() error {
		seen, err := hosts("http://"+j.clusterIP(t)+"/", 60)
		if err == nil && len(seen) != 3 {
			err = fmt.Errorf("answers by %v", seen)
		}
		return err
	})
}

func (j *job) fromPod(t *testing.T) {
	pod := j.one(t, "app=web")
	for _, name := range []string{j.clusterIP(t), "web", "web.default", "web.default.svc.cluster.local"} {
		eventually(t, 10*time.Second, name+" answers in a pod", func() error {
			out, err := j.try("exec", pod, "--", "/web", "-get", "http://"+name+"/")
			if err == nil && !strings.Contains(out, "hello") {
				err = fmt.Errorf("it says something else")
			}
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	if out, err := j.try("exec", pod, "--", "/web", "-get", "http://nothing/"); err == nil || !strings.Contains(out, "no such host") {
		t.Errorf("a name that does not exist: %v\n%s", err, out)
	}
	if out, err := j.try("exec", pod, "--", "/web", "-get", "https://kubernetes.default/version"); err != nil || !strings.Contains(out, "gitVersion") {
		t.Errorf("the API from a pod: %v\n%s", err, out)
	}
	if out, err := j.try("exec", pod, "--", "/web", "-get", "https://kubernetes.default/api/v1/secrets"); err == nil || !strings.Contains(out, "system:serviceaccount:default:default") {
		t.Errorf("Secrets by a pod that has no right to them: %v\n%s", err, out)
	}
}

func (j *job) unowned(t *testing.T) {
	ip := net.ParseIP(j.get(t, "service/kubernetes", ".spec.clusterIP")).To4()
	ip[2], ip[3] = 250, 250
	began := time.Now()
	_, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), "80"), 5*time.Second)
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("dialling %s: %v after %s, want a refusal", ip, err, time.Since(began))
	}
}

func (j *job) scale(t *testing.T) {
	for _, n := range []string{"5", "2", "3"} {
		j.run(t, "scale", "deployment/web", "--replicas="+n)
		j.run(t, "rollout", "status", "deployment/web", "--timeout=60s")
		eventually(t, 40*time.Second, n+" pods are left", func() error {
			pods, err := j.cluster.pods("app=web", ".status.phase")
			if err == nil && fmt.Sprint(len(pods)) != n {
				err = fmt.Errorf("there are %v", pods)
			}
			return err
		})
	}
}

// client asks the Service all the time and counts failures.
type client struct {
	failed, asked atomic.Int64
	first         atomic.Value
	stop          chan struct{}
	group         sync.WaitGroup
}

func (j *job) client(t *testing.T, workers int) *client {
	url := "http://" + j.clusterIP(t) + "/"
	c := &client{stop: make(chan struct{})}
	for range workers {
		c.group.Go(func() {
			for {
				select {
				case <-c.stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				c.asked.Add(1)
				if _, err := fetch(url); err != nil {
					c.failed.Add(1)
					c.first.CompareAndSwap(nil, err.Error())
				}
			}
		})
	}
	return c
}

func (c *client) end(t *testing.T) {
	t.Helper()
	close(c.stop)
	c.group.Wait()
	if c.failed.Load() > 0 {
		t.Errorf("%d of %d requests failed; the first: %v", c.failed.Load(), c.asked.Load(), c.first.Load())
	}
	t.Logf("%d requests", c.asked.Load())
}

func (j *job) roll(t *testing.T) {
	c := j.client(t, 4)
	j.run(t, "set", "image", "deployment/web", "web="+images.Address+"/web:v2")
	j.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	eventually(t, 40*time.Second, "only v2 answers", func() error {
		for range 10 {
			got, err := fetch("http://" + j.clusterIP(t) + "/")
			if err != nil || !strings.Contains(got, " v2 ") {
				return fmt.Errorf("got %q, %w", got, err)
			}
		}
		return nil
	})
	c.end(t)
}

func (j *job) badRoll(t *testing.T) {
	c := j.client(t, 2)
	j.run(t, "set", "image", "deployment/web", "web="+images.Address+"/web:none")
	eventually(t, 30*time.Second, "the pull fails", func() error {
		out, err := j.try("get", "pods", "-l", "app=web")
		if err == nil && !strings.Contains(out, "ErrImagePull") && !strings.Contains(out, "ImagePullBackOff") {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
	if got := j.get(t, "deployment/web", ".status.availableReplicas"); got != "3" {
		t.Errorf("%s of the old pods serve, want 3", got)
	}
	history := j.run(t, "rollout", "history", "deployment/web")
	for _, revision := range []string{"\n1 ", "\n2 ", "\n3 "} {
		if !strings.Contains(history, revision) {
			t.Errorf("rollout history lacks revision %q:\n%s", strings.TrimSpace(revision), history)
		}
	}
	j.run(t, "rollout", "undo", "deployment/web")
	j.run(t, "rollout", "status", "deployment/web", "--timeout=60s")
	if got := j.get(t, "deployment/web", ".spec.template.spec.containers[0].image"); !strings.HasSuffix(got, "web:v2") {
		t.Errorf("after undo the image is %s", got)
	}
	history = j.run(t, "rollout", "history", "deployment/web")
	if !strings.Contains(history, "\n4 ") || strings.Contains(history, "\n2 ") {
		t.Errorf("after undo revision 2 should have become 4:\n%s", history)
	}
	c.end(t)
}

func (j *job) replace(t *testing.T) {
	pod := j.one(t, "app=web")
	j.run(t, "delete", "pod", pod)
	eventually(t, 30*time.Second, "another pod serves in its place", func() error {
		pods, err := j.cluster.pods("app=web", ".status.containerStatuses[0].ready")
		if err != nil {
			return err
		}
		if _, there := pods[pod]; there || len(pods) != 3 || count(pods, "true") != 3 {
			return fmt.Errorf("there are %v", pods)
		}
		return nil
	})
}

func count(m map[string]string, value string) (n int) {
	for _, v := range m {
		if v == value {
			n++
		}
	}
	return n
}

func (j *job) restarts(t *testing.T, pod string) string {
	t.Helper()
	return j.get(t, "pod/"+pod, ".status.containerStatuses[0].restartCount")
}

func (j *job) restart(t *testing.T) {
	pod := j.one(t, "app=web")
	ip := j.get(t, "pod/"+pod, ".status.podIP")
	_, _ = fetch("http://" + ip + ":8080/exit?code=9")
	eventually(t, 30*time.Second, "the container was restarted", func() error {
		if n := j.restarts(t, pod); n != "1" {
			return fmt.Errorf("restartCount is %s", n)
		}
		if got := j.get(t, "pod/"+pod, ".status.containerStatuses[0].ready"); got != "true" {
			return fmt.Errorf("it is not ready")
		}
		return nil
	})
	if code := j.get(t, "pod/"+pod, ".status.containerStatuses[0].lastState.terminated.exitCode"); code != "9" {
		t.Errorf("the last exit code is %q, want 9", code)
	}
	if got := j.get(t, "pod/"+pod, ".status.podIP"); got != ip {
		t.Errorf("the pod's address changed from %s to %s", ip, got)
	}
	if got := j.run(t, "logs", "-p", pod); !strings.Contains(got, "exiting with 9") {
		t.Errorf("logs of before: %q", got)
	}
}

func post(url string) error {
	resp, err := http.Post(url, "", nil)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

func (j *job) readiness(t *testing.T) {
	pod := j.one(t, "app=web")
	base := "http://" + j.get(t, "pod/"+pod, ".status.podIP") + ":8080"
	if err := post(base + "/break?what=readyz"); err != nil {
		t.Fatal(err)
	}
	service := "http://" + j.clusterIP(t) + "/"
	eventually(t, 30*time.Second, "the pod gets no traffic", func() error {
		seen, err := hosts(service, 30)
		if err == nil && (seen[pod] > 0 || len(seen) != 2) {
			err = fmt.Errorf("answers by %v", seen)
		}
		return err
	})
	if got := j.get(t, "pod/"+pod, `.status.conditions[?(@.type=="Ready")].status`); got != "False" {
		t.Errorf("Ready is %s", got)
	}
	if err := post(base + "/mend?what=readyz"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the pod gets traffic again", func() error {
		seen, err := hosts(service, 30)
		if err == nil && seen[pod] == 0 {
			err = fmt.Errorf("answers by %v", seen)
		}
		return err
	})
}

func (j *job) liveness(t *testing.T) {
	pod := j.one(t, "app=web")
	before := j.restarts(t, pod)
	if err := post("http://" + j.get(t, "pod/"+pod, ".status.podIP") + ":8080/break?what=healthz"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "the container was restarted", func() error {
		if now := j.restarts(t, pod); now == before {
			return fmt.Errorf("restartCount is still %s", now)
		}
		return nil
	})
	eventually(t, 10*time.Second, "the reason is told", func() error {
		return contains(j.run(t, "describe", "pod", pod), "failed liveness probe, will be restarted")
	})
	j.run(t, "rollout", "status", "deployment/web", "--timeout=60s")
}

const probesManifest = `
apiVersion: v1
kind: Pod
metadata: {name: probes}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: exec
    image: REGISTRY/busybox:1
    command: [sh, -c, "touch /tmp/ok; exec sleep 1000"]
    readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}
    livenessProbe: {exec: {command: [test, -e, /tmp/ok]}, periodSeconds: 1, failureThreshold: 2}
  - name: tcp
    image: REGISTRY/web:v1
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
  - name: closed
    image: REGISTRY/busybox:1
    command: [sleep, "1000"]
    livenessProbe: {tcpSocket: {port: 9}, periodSeconds: 1, failureThreshold: 2}
`

func (j *job) otherProbes(t *testing.T) {
	j.apply(t, strings.ReplaceAll(probesManifest, "REGISTRY", images.Address))
	defer j.try("delete", "pod", "probes", "--now")
	field := func(container, field string) string {
		return j.get(t, "pod/probes", `.status.containerStatuses[?(@.name=="`+container+`")].`+field)
	}
	eventually(t, 30*time.Second, "TCP makes ready, exec does not", func() error {
		if a, b := field("exec", "ready"), field("tcp", "ready"); a != "false" || b != "true" {
			return fmt.Errorf("exec is %s, tcp is %s", a, b)
		}
		return nil
	})
	j.run(t, "exec", "probes", "-c", "exec", "--", "touch", "/tmp/ready")
	eventually(t, 15*time.Second, "exec makes ready", func() error {
		if got := field("exec", "ready"); got != "true" {
			return fmt.Errorf("ready is %s", got)
		}
		return nil
	})
	eventually(t, 40*time.Second, "a closed port restarts its container", func() error {
		if got := field("closed", "restartCount"); got == "0" {
			return fmt.Errorf("restartCount is %s", got)
		}
		return nil
	})
	if got := field("tcp", "restartCount"); got != "0" {
		t.Errorf("the healthy container was restarted %s times", got)
	}
	j.run(t, "exec", "probes", "-c", "exec", "--", "rm", "/tmp/ok")
	eventually(t, 40*time.Second, "a failed exec probe restarts its container", func() error {
		if got := field("exec", "restartCount"); got == "0" {
			return fmt.Errorf("restartCount is %s", got)
		}
		return nil
	})
}

func (j *job) delete(t *testing.T) {
	cmd := exec.Command(filepath.Join(*binDir, "kubectl"), "--kubeconfig", j.config, "delete", "--timeout=60s", "-f", "-")
	cmd.Stdin = strings.NewReader(j.manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, 60*time.Second, "nothing is left", func() error {
		out, err := j.try("get", "deployments,replicasets,pods,endpointslices", "-l", "app=web", "-o", "name")
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

func (j *job) downAndUp(t *testing.T, before host, m marks) {
	j.run(t, "create", "configmap", "kept", "--from-literal=a=b")
	j.apply(t, strings.ReplaceAll(probesManifest, "REGISTRY", images.Address))
	j.run(t, "wait", "--for=condition=PodReadyToStartContainers", "pod/probes", "--timeout=30s")
	if out, err := j.kubus("down"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, 10*time.Second, "nothing is left running", func() error {
		after := host{"processes": processes()}
		if left := added(host{"processes": before["processes"]}, after, m); len(left) > 0 {
			return fmt.Errorf("%s", strings.Join(left, "\n"))
		}
		return nil
	})
	if out, err := j.kubus("status"); err == nil {
		t.Errorf("status is healthy after down:\n%s", out)
	}
	if out, err := j.makeUp(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := j.get(t, "configmap/kept", ".data.a"); got != "b" {
		t.Errorf("the ConfigMap holds %q", got)
	}
	eventually(t, 60*time.Second, "the pod runs again", func() error {
		if got := j.get(t, "pod/probes", `.status.containerStatuses[?(@.name=="tcp")].ready`); got != "true" {
			return fmt.Errorf("ready is %q", got)
		}
		return nil
	})
}

func contains(text, want string) error {
	if !strings.Contains(text, want) {
		return fmt.Errorf("%q is not in %q", want, lastBytes(text, 2000))
	}
	return nil
}

// fetch gets a page on a connection of its own.
func fetch(url string) (string, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Timeout: 5 * time.Second, Transport: transport}).Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}
