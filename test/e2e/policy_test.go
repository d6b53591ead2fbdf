package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Pods of two namespaces on two nodes, and what NetworkPolicies let them do.
func TestNetworkPolicies(t *testing.T) {
	need(t, true, append(nodePrograms, "kubus-agent", "kubus-proxy")...)
	before := snapshot(t)
	n := newNodes(t, "e2e-policy", "allinone", 2)
	n.up(t)
	m := n.marks(t)
	p := &policies{nodes: n, address: map[string]string{}}
	p.begin(t)
	step := func(name string, f func(t *testing.T)) {
		if !t.Run(name, f) {
			t.FailNow() // what follows builds on it
		}
	}
	step("without a policy everybody reaches everybody, and there is no table", p.open)
	step("default deny holds on both nodes, and ends no connection that there was", p.deny)
	step("pods are allowed by their labels, and lose that with them", p.byPods)
	step("namespaces are allowed by theirs", p.byNamespace)
	step("a block is allowed but for its exception", p.byBlock)
	step("a port is allowed by the name that each pod has for its own", p.byName)
	step("a pod that may only send to some still has names from the DNS", p.egress)
	step("a pod that is new is denied from its first packet on, and allowed as soon", p.fresh)
	step("a table that somebody deletes is back", p.mend)
	step("when a namespace goes its policies stay until its pods are gone (CVE-2024-7598)", p.namespaceGoes)
	step("without policies all is open again", p.openAgain)
	step("down --purge leaves the machine as it was", func(t *testing.T) {
		if out, err := n.kubus("down", "--purge", "--yes"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		unchanged(t, before, m)
	})
}

// policies has a server and a client on each node in default, and a pod on each in other.
type policies struct {
	*nodes
	address map[string]string // of the pods, by namespace/name
}

var (
	servers = []string{"default/server-1", "default/server-2"}
	clients = []string{"default/client-1", "default/client-2", "other/client-1", "other/client-2"}
)

func (p *policies) begin(t *testing.T) {
	p.apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {team: other}}")
	for _, list := range [][]string{servers, clients} {
		for _, pod := range list {
			p.create(t, pod)
		}
	}
	p.apply(t, `
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: http}]}
`)
	for _, pod := range append(servers, clients...) {
		p.ready(t, pod)
	}
}

// create makes a pod whose port is named http; pods are named after what they are and where.
func (p *policies) create(t *testing.T, pod string) {
	t.Helper()
	namespace, name, _ := strings.Cut(pod, "/")
	app, where, _ := strings.Cut(name, "-")
	node := p.names[0]
	if where == "2" {
		node = p.names[1]
	}
	p.apply(t, strings.NewReplacer("NAMESPACE", namespace, "NAME", name, "APP", app, "NODE", node, "IMAGES", hub).Replace(`
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: NAMESPACE, labels: {app: APP}}
spec:
  nodeName: NODE
  containers:
  - {name: web, image: IMAGES/web:v1, ports: [{name: http, containerPort: 8080}], readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}}
`))
}

func (p *policies) ready(t *testing.T, pod string) {
	t.Helper()
	namespace, name, _ := strings.Cut(pod, "/")
	p.run(t, "wait", "-n", namespace, "--for=condition=Ready", "pod/"+name, "--timeout=60s")
	p.address[pod] = strings.TrimSpace(p.run(t, "get", "pod", "-n", namespace, name, "-o", "jsonpath={.status.podIP}"))
}

// policy applies one of default.
func (p *policies) policy(t *testing.T, name, spec string) {
	t.Helper()
	p.apply(t, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: "+name+"}\nspec: "+spec)
}

// reaches tries one connection.
func (p *policies) reaches(from, url string) bool {
	namespace, name, _ := strings.Cut(from, "/")
	_, err := p.try("exec", "-n", namespace, name, "-c", "web", "--", "/web", "-get", url)
	return err == nil
}

// expect waits until just the named clients reach the servers, and `kubus policy check` says so.
func (p *policies) expect(t *testing.T, may func(client, server string) bool) {
	t.Helper()
	eventually(t, 60*time.Second, "who may reaches, and nobody else", func() error {
		var wait sync.WaitGroup
		var mu sync.Mutex
		var wrong []string
		for _, client := range clients {
			for _, server := range servers {
				wait.Go(func() {
					if got, want := p.reaches(client, "http://"+p.address[server]+":8080/"), may(client, server); got != want {
						mu.Lock()
						wrong = append(wrong, fmt.Sprintf("%s to %s: %v", client, server, got))
						mu.Unlock()
					}
				})
			}
		}
		wait.Wait()
		if len(wrong) > 0 {
			return fmt.Errorf("otherwise than expected: %q", wrong)
		}
		return nil
	})
	for _, client := range clients {
		for _, server := range servers {
			out, err := p.kubus("policy", "check", client, server, "http")
			if want := may(client, server); strings.HasPrefix(out, "allowed: ") != want || (err == nil) != want {
				t.Errorf("kubus policy check %s %s: %v\n%s\nwant %v", client, server, err, out, want)
			}
		}
	}
}

func all(string, string) bool  { return true }
func none(string, string) bool { return false }

// table is the name of the machine's table, empty where it has none.
func (p *policies) table(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "tables", "inet").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := p.marks(t)
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "table inet "); ok && strings.Contains(name, "policy") && marks(m[3:]).ours(name) {
			return name
		}
	}
	return ""
}

func (p *policies) open(t *testing.T) {
	p.expect(t, all)
	if name := p.table(t); name != "" {
		t.Errorf("there is the table %s", name)
	}
}

func (p *policies) deny(t *testing.T) {
	p.run(t, "run", "keeps", "--image="+hub+"/busybox:1", "--overrides", `{"spec":{"nodeName":"`+p.names[1]+`"}}`, "--", "sleep", "100000")
	p.run(t, "wait", "--for=condition=Ready", "pod/keeps", "--timeout=60s")
	const request = `printf 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'; `
	_, out := p.cluster.start(t, "exec", "keeps", "--", "sh", "-c", "( "+request+"until [ -e /tmp/go ]; do sleep 0.1; done; "+request+"sleep 1 ) | nc "+p.address[servers[0]]+" 8080; echo over")
	eventually(t, 20*time.Second, "the first answer", func() error {
		if got := strings.Count(out.String(), "HTTP/1.1 200"); got != 1 {
			return fmt.Errorf("%d answers: %s", got, out)
		}
		return nil
	})
	p.policy(t, "deny", "{podSelector: {}, policyTypes: [Ingress]}")
	p.expect(t, none)
	if !p.reaches("default/server-1", "http://"+p.address["default/server-1"]+":8080/") {
		t.Error("a pod does not reach itself")
	}
	if err := ask("http://" + p.address["default/server-1"] + ":8080/"); err != nil {
		t.Errorf("the node does not reach its pod: %v", err)
	}
	if err := ask("http://" + p.address["default/server-2"] + ":8080/"); err == nil {
		t.Error("another node reaches a pod")
	}
	if p.reaches(clients[1], "http://"+p.get(t, "service/server", ".spec.clusterIP")+"/") {
		t.Error("the Service is a way around")
	}
	p.run(t, "exec", "keeps", "--", "touch", "/tmp/go")
	eventually(t, 20*time.Second, "the second answer over the same connection", func() error {
		if got := strings.Count(out.String(), "HTTP/1.1 200"); got != 2 {
			return fmt.Errorf("%d answers: %s", got, out)
		}
		return nil
	})
}

func (p *policies) byPods(t *testing.T) {
	p.policy(t, "allow", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}")
	p.expect(t, func(client, _ string) bool { return strings.HasPrefix(client, "default/") })
	p.run(t, "label", "pod", "client-2", "app=other", "--overwrite")
	p.expect(t, func(client, _ string) bool { return client == "default/client-1" })
	p.run(t, "label", "pod", "client-2", "app=client", "--overwrite")
}

func (p *policies) byNamespace(t *testing.T) {
	p.policy(t, "allow", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: other}}}]}]}")
	p.expect(t, func(client, _ string) bool { return strings.HasPrefix(client, "other/") })
	p.run(t, "label", "namespace", "other", "team=none", "--overwrite")
	p.expect(t, none)
	p.run(t, "label", "namespace", "other", "team=other", "--overwrite")
}

func (p *policies) byBlock(t *testing.T) {
	p.policy(t, "allow", "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: ["+p.address[clients[1]]+"/32]}}]}]}")
	p.expect(t, func(client, _ string) bool { return client != clients[1] })
}

func (p *policies) byName(t *testing.T) {
	p.policy(t, "allow", "{podSelector: {}, ingress: [{ports: [{port: other}]}]}")
	p.expect(t, none)
	p.policy(t, "allow", "{podSelector: {}, ingress: [{ports: [{port: http}]}]}")
	p.expect(t, all)
}

func (p *policies) egress(t *testing.T) {
	p.policy(t, "out", "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: server}}}], ports: [{port: http}]}]}")
	p.expect(t, all)
	for _, client := range clients[:2] {
		eventually(t, 30*time.Second, "the name is found and answers "+client, func() error {
			if !p.reaches(client, "http://server.default.svc.cluster.local/") {
				return fmt.Errorf("it does not")
			}
			return nil
		})
		if p.reaches(client, "http://"+p.address["other/client-1"]+":8080/") || p.reaches(client, "http://"+p.address["other/client-2"]+":8080/") {
			t.Errorf("%s reaches who it may not send to", client)
		}
	}
	p.run(t, "delete", "networkpolicy", "out")
}

// fresh tells how soon a pod that begins to ask with its first breath has an answer, where it
// may have one; where it may not it gets none.
func (p *policies) fresh(t *testing.T) {
	for _, c := range []struct{ name, labels, want string }{{"may", "app=client", "0"}, {"may-not", "app=stranger", "1"}} {
		p.policy(t, "allow", "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}")
		for i, node := range p.names {
			for _, server := range servers {
				name := fmt.Sprintf("%s-%d", c.name, i)
				p.run(t, "run", name, "--image="+hub+"/busybox:1", "--restart=Never", "--labels="+c.labels, "--overrides", `{"spec":{"nodeName":"`+node+`"}}`,
					"--", "sh", "-c", "exec 2>/dev/null; a=$(cut -d' ' -f1 /proc/uptime); timeout 4 wget -q -O /dev/null http://"+p.address[server]+":8080/ && code=0 || code=1; echo $code $a $(cut -d' ' -f1 /proc/uptime)")
				p.run(t, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/"+name, "--timeout=60s")
				out := p.run(t, "logs", name)
				if !strings.HasPrefix(out, c.want+" ") {
					t.Errorf("%s on %s to %s: %s, want %s", name, node, server, out, c.want)
				}
				t.Logf("%s on %s to %s: exit code, begin, end: %s", name, node, server, strings.TrimSpace(out))
				p.run(t, "delete", "pod", name, "--now")
			}
		}
	}
}

func (p *policies) mend(t *testing.T) {
	name := p.table(t)
	if name == "" {
		t.Fatal("there is no table")
	}
	if out, err := exec.Command("nft", "delete", "table", "inet", name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, 10*time.Second, "the table is back", func() error {
		if p.table(t) == "" {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	p.expect(t, func(client, _ string) bool { return strings.HasPrefix(client, "default/") })
}

func (p *policies) namespaceGoes(t *testing.T) {
	p.apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: going}")
	p.create(t, "going/server-2")
	p.run(t, "run", "lasts", "-n", "going", "--image="+hub+"/busybox:1", "--overrides", `{"spec":{"nodeName":"`+p.names[1]+`","terminationGracePeriodSeconds":6}}`,
		"--", "sh", "-c", "trap : TERM; mkdir /tmp/www; echo hello > /tmp/www/index.html; httpd -p 8080 -h /tmp/www; while :; do sleep 1; done")
	p.ready(t, "going/server-2")
	p.ready(t, "going/lasts")
	p.apply(t, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: going}\nspec: {podSelector: {}, policyTypes: [Ingress]}")
	url := "http://" + p.address["going/lasts"] + ":8080/"
	eventually(t, 20*time.Second, "it is denied", func() error {
		if p.reaches(clients[1], url) {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	p.run(t, "delete", "namespace", "going", "--wait=false")
	for there, seen := true, 0; there; seen++ {
		policy := p.run(t, "get", "networkpolicies", "-n", "going", "-o", "name", "--ignore-not-found")
		pods := p.run(t, "get", "pods", "-n", "going", "-o", "name", "--ignore-not-found")
		there = strings.Contains(pods, "pod/")
		if there && !strings.Contains(policy, "deny") {
			t.Fatalf("pods %q outlive the policy", pods)
		}
		if p.reaches(clients[1], url) {
			t.Fatal("it is open while its pods end")
		}
		if !there && seen == 0 {
			t.Error("its pods were gone before anything was seen")
		}
	}
	p.run(t, "wait", "--for=delete", "namespace/going", "--timeout=60s")
}

func (p *policies) openAgain(t *testing.T) {
	p.run(t, "delete", "networkpolicy", "--all")
	p.expect(t, all)
	eventually(t, 10*time.Second, "the table is gone", func() error {
		if name := p.table(t); name != "" {
			return fmt.Errorf("there is %s", name)
		}
		return nil
	})
}
