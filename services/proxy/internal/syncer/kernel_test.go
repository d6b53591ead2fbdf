package syncer_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"kubus.dev/services/proxy/internal/conntrack"
	"kubus.dev/services/proxy/internal/health"
	"kubus.dev/services/proxy/internal/iptables"
	"kubus.dev/services/proxy/internal/lab"
	"kubus.dev/services/proxy/internal/rule"
	"kubus.dev/services/proxy/internal/service"
	"kubus.dev/services/proxy/internal/syncer"
	"kubus.dev/services/proxy/internal/sysctl"
)

const node = "here"

// bench is a lab with a syncer on its node.
type bench struct {
	*lab.Lab
	*syncer.Syncer
	t     testing.TB
	stop  func()
	limit time.Duration // of until

	mu      sync.Mutex
	results []syncer.Result
}

func start(t testing.TB, l *lab.Lab, instance string, tell func(*syncer.Syncer)) *bench {
	t.Helper()
	return startWithin(t, l, instance, 5*time.Second, tell)
}

func startWithin(t testing.TB, l *lab.Lab, instance string, limit time.Duration, tell func(*syncer.Syncer)) *bench {
	t.Helper()
	b := &bench{Lab: l, t: t}
	tool, err := iptables.Find()
	if err != nil {
		t.Fatal(err)
	}
	checks := health.NewServer(zaptest.NewLogger(t))
	b.Syncer = syncer.New(syncer.Options{
		Node: node, Kernel: tool, Clean: conntrack.Clean, Health: checks, Logger: zaptest.NewLogger(t),
		MinInterval: 5 * time.Millisecond,
		Rules: rule.Options{
			Prefix: rule.Prefix(instance), MarkBit: 14, Affinity: true,
			ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
			PodCIDR:      netip.MustParsePrefix("10.244.0.0/16"),
		},
		Observe: func(r syncer.Result) { b.mu.Lock(); b.results = append(b.results, r); b.mu.Unlock() },
	})
	if tell != nil {
		tell(b.Syncer)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Node.Do(func() {
			if err := sysctl.Apply("", sysctl.Needed); err != nil {
				panic(err)
			}
			_ = b.Run(ctx)
		})
	}()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		l.Node.Do(func() {
			if err := tool.Watch(ctx, b.Disturbed); err != nil {
				panic(err)
			}
		})
	}()
	b.stop = sync.OnceFunc(func() { cancel(); <-done; <-watched; checks.Close() })
	t.Cleanup(b.stop)
	b.limit = limit
	b.until("the first sync", func() bool { return b.State() == nil })
	b.limit = 5 * time.Second
	return b
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(b.limit); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%s did not happen within %v (state: %v)", what, b.limit, b.State())
		}
	}
}

// settled waits until a change is in the kernel.
func (b *bench) settled(change func()) {
	b.t.Helper()
	count := func() int { b.mu.Lock(); defer b.mu.Unlock(); return len(b.results) }
	before := count()
	change()
	b.until("a sync", func() bool { return count() > before && !b.Pending() })
}

func web(change func(*service.Service)) *service.Service {
	s := &service.Service{
		Name: service.Name{Namespace: "default", Name: "web"}, ClusterIP: netip.MustParseAddr("10.96.3.7"),
		Ports: []service.ServicePort{{Protocol: "tcp", Port: 80, NodePort: 30080}, {Name: "u", Protocol: "udp", Port: 80, NodePort: 30080}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func endpoints(addresses ...string) *service.Slice {
	s := &service.Slice{
		Service: service.Name{Namespace: "default", Name: "web"},
		Ports:   []service.SlicePort{{Protocol: "tcp", Number: 8080}, {Name: "u", Protocol: "udp", Number: 8080}},
	}
	for _, a := range addresses {
		a, elsewhere := strings.CutSuffix(a, "@there")
		e := service.Endpoint{Addr: netip.MustParseAddr(a), Node: node, Ready: true, Serving: true}
		if elsewhere {
			e.Node = "there"
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func (b *bench) web(s *service.Service, slice *service.Slice) {
	b.t.Helper()
	b.settled(func() {
		if s != nil {
			b.SetService(s.Name, s)
		}
		if slice != nil {
			b.SetSlice(service.Name{Namespace: "default", Name: "web-1"}, slice)
		}
	})
}

func (b *bench) answers(from *lab.Namespace, address, server string) lab.Answer {
	b.t.Helper()
	a, err := from.Ask(address)
	if err != nil {
		b.t.Fatalf("asking %s: %v", address, err)
	}
	if server != "" && a.Server != server {
		b.t.Fatalf("asking %s: got %+v, want an answer of %s", address, a, server)
	}
	return a
}

func (b *bench) refused(from *lab.Namespace, address string) {
	b.t.Helper()
	begin := time.Now()
	a, err := from.Ask(address)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		b.t.Fatalf("asking %s: got %+v, %v, want connection refused", address, a, err)
	}
	if took := time.Since(begin); took > time.Second {
		b.t.Errorf("asking %s: refused after %v", address, took)
	}
}

func (b *bench) silent(from *lab.Namespace, address string) {
	b.t.Helper()
	a, err := from.Ask(address)
	var timeout interface{ Timeout() bool }
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		b.t.Fatalf("asking %s: got %+v, %v, want no answer at all", address, a, err)
	}
}

func TestAServiceIsReachedFromItsPodsTheNodeAndOutside(t *testing.T) {
	l := lab.New(t)
	p1, p2, client := l.Pod("10.244.0.11"), l.Pod("10.244.0.12"), l.Pod("10.244.0.20")
	p1.Serve("one", 8080)
	p2.Serve("two", 8080)
	b := start(t, l, "a", nil)

	b.web(web(nil), endpoints("10.244.0.11"))
	if a := b.answers(client, "10.96.3.7:80", "one"); a.Client.Addr().String() != "10.244.0.20" {
		t.Errorf("a pod's own address was not kept: %v", a.Client)
	}
	b.answers(l.Node, "10.96.3.7:80", "one")
	b.answers(p1, "10.96.3.7:80", "one") // hairpin
	b.answers(l.Outside, "10.96.3.7:80", "one")
	b.answers(l.Outside, lab.Node+":30080", "one")
	b.answers(l.Node, lab.Node+":30080", "one")
	b.answers(client, lab.Node+":30080", "one")
	b.answers(client, lab.Gateway+":30080", "one")
	b.refused(l.Node, "127.0.0.1:30080")

	b.web(nil, endpoints("10.244.0.12"))
	b.answers(client, "10.96.3.7:80", "two")
	b.answers(l.Node, "10.96.3.7:80", "two")

	b.web(nil, endpoints())
	b.refused(client, "10.96.3.7:80")
	b.refused(l.Node, "10.96.3.7:80")
	b.refused(l.Outside, lab.Node+":30080")
}

func TestConnectionsAreSpreadEvenlyOverEndpoints(t *testing.T) {
	l := lab.New(t)
	client := l.Pod("10.244.0.20")
	var addresses []string
	for i := range 4 {
		address := fmt.Sprintf("10.244.0.%d", 11+i)
		l.Pod(address).Serve(address, 8080)
		addresses = append(addresses, address)
	}
	b := start(t, l, "a", nil)
	b.web(web(nil), endpoints(addresses...))
	count := map[string]int{}
	const n = 400
	for range n {
		count[b.answers(client, "10.96.3.7:80", "").Server]++
	}
	for _, address := range addresses {
		// 100 expected, standard deviation 8.7: six of them are never reached.
		if c := count[address]; c < 48 || c > 152 {
			t.Errorf("%s got %d of %d connections; all: %v", address, c, n, count)
		}
	}
}

func TestAnAddressNoServiceOwnsIsRefused(t *testing.T) {
	l := lab.New(t)
	client := l.Pod("10.244.0.20")
	b := start(t, l, "a", nil)
	b.web(web(nil), endpoints("10.244.0.11"))
	for _, from := range []*lab.Namespace{client, l.Node, l.Outside} {
		b.refused(from, "10.96.77.77:443")
		b.refused(from, "10.96.3.7:81")
	}
}

func TestUDPFlowsMoveAwayFromAnEndpointThatIsGone(t *testing.T) {
	l := lab.New(t)
	client := l.Pod("10.244.0.20")
	l.Pod("10.244.0.11").Serve("one", 8080)
	l.Pod("10.244.0.12").Serve("two", 8080)
	b := start(t, l, "a", nil)
	b.web(web(nil), endpoints("10.244.0.11"))

	for _, at := range []string{"10.96.3.7:80", lab.Node + ":30080"} {
		c := client.Dial("udp4", at) // one socket: one flow
		ask := func(want string) {
			t.Helper()
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if a, err := lab.Read(c); err != nil || a.Server != want {
				t.Fatalf("%s: got %+v, %v, want %s", at, a, err, want)
			}
		}
		ask("one")
		b.web(nil, endpoints("10.244.0.12"))
		b.until("the flow's move", func() bool { // flows are forgotten after the rules are written
			_, _ = c.Write([]byte("hello"))
			a, err := lab.Read(c)
			return err == nil && a.Server == "two"
		})
		ask("two")
		b.web(nil, endpoints("10.244.0.11"))
	}
}

func TestEstablishedConnectionsSurviveTheirEndpointsRemovalAndARestart(t *testing.T) {
	l := lab.New(t)
	client := l.Pod("10.244.0.20")
	l.Pod("10.244.0.11").Serve("one", 8080)
	b := start(t, l, "a", nil)
	b.web(web(nil), endpoints("10.244.0.11"))
	c := client.Dial("tcp4", "10.96.3.7:80")
	if _, err := lab.Read(c); err != nil {
		t.Fatal(err)
	}
	alive := func(when string) {
		t.Helper()
		if _, err := c.Write([]byte("echo 1.2.3.4:5\n")); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if a, err := lab.Read(c); err != nil || a.Server != "echo" {
			t.Fatalf("%s: %+v, %v", when, a, err)
		}
	}
	b.web(nil, endpoints())
	alive("after the endpoint's removal")
	b.stop()
	alive("after the proxy's end")
	start(t, l, "a", func(s *syncer.Syncer) {
		other := web(func(s *service.Service) { s.Name.Name = "other"; s.ClusterIP = netip.MustParseAddr("10.96.9.9") })
		s.SetService(other.Name, other)
	})
	alive("after the next proxy's start")
	l.Node.Do(func() {
		out, _ := exec.Command("iptables-save").Output()
		if strings.Contains(string(out), "default/web ") {
			t.Errorf("rules of a Service that went while the proxy was down remain:\n%s", out)
		}
	})
}

func TestPoliciesKeepTrafficLocalAndItsSourceAddress(t *testing.T) {
	l := lab.New(t)
	client := l.Pod("10.244.0.20")
	l.Pod("10.244.0.11").Serve("one", 8080)
	l.Pod("10.244.0.12").Serve("two", 8080)
	b := start(t, l, "a", nil)
	local := web(func(s *service.Service) {
		s.ExternalLocal, s.HealthCheckNodePort = true, 31000
		s.LoadBalancerIPs = []netip.Addr{netip.MustParseAddr("203.0.113.9")}
	})
	b.web(local, endpoints("10.244.0.11", "10.244.0.12@there"))
	for range 10 {
		if a := b.answers(l.Outside, lab.Node+":30080", "one"); a.Client.Addr().String() != lab.Outside {
			t.Fatalf("the source address was not kept: %v", a.Client)
		}
	}
	b.healthIs("HTTP/1.0 200 OK")

	b.web(local, endpoints("10.244.0.12@there"))
	b.silent(l.Outside, lab.Node+":30080")
	b.answers(client, lab.Node+":30080", "two") // from inside, all endpoints
	b.answers(l.Node, lab.Node+":30080", "two")
	b.answers(client, "203.0.113.9:80", "two")
	b.answers(client, "10.96.3.7:80", "two")
	b.healthIs("HTTP/1.0 503 Service Unavailable")

	b.web(web(func(s *service.Service) { s.InternalLocal = true }), nil)
	b.refused(client, "10.96.3.7:80")
	b.answers(l.Outside, lab.Node+":30080", "two")
}

func (b *bench) healthIs(want string) {
	b.t.Helper()
	c := b.Outside.Dial("tcp4", lab.Node+":31000")
	_, _ = c.Write([]byte("GET /healthz HTTP/1.0\r\n\r\n"))
	buf := make([]byte, 512)
	_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
	n, _ := c.Read(buf)
	if got, _, _ := strings.Cut(string(buf[:n]), "\r\n"); got != want {
		b.t.Errorf("health check: got %q, want %q", got, want)
	}
}

func TestABalancersSourceRangesAreKept(t *testing.T) {
	l := lab.New(t)
	l.Pod("10.244.0.11").Serve("one", 8080)
	b := start(t, l, "a", nil)
	ranges := func(cidr string) *service.Service {
		return web(func(s *service.Service) {
			s.LoadBalancerIPs = []netip.Addr{netip.MustParseAddr(lab.Node)}
			s.SourceRanges = []netip.Prefix{netip.MustParsePrefix(cidr)}
		})
	}
	b.web(ranges("192.0.2.0/24"), endpoints("10.244.0.11"))
	b.answers(l.Outside, lab.Node+":80", "one")
	b.web(ranges("198.51.100.0/24"), nil)
	b.silent(l.Outside, lab.Node+":80")
}

func TestSessionAffinityHoldsAClient(t *testing.T) {
	l := lab.New(t)
	client := l.Pod("10.244.0.20")
	for i := range 4 {
		address := fmt.Sprintf("10.244.0.%d", 11+i)
		l.Pod(address).Serve(address, 8080)
	}
	b := start(t, l, "a", nil)
	b.web(web(func(s *service.Service) { s.Affinity = time.Hour }),
		endpoints("10.244.0.11", "10.244.0.12", "10.244.0.13", "10.244.0.14"))
	first := b.answers(client, "10.96.3.7:80", "").Server
	for range 20 {
		b.answers(client, "10.96.3.7:80", first)
	}
	b.web(nil, endpoints("10.244.0.11", "10.244.0.12", "10.244.0.13"))
	b.answers(client, "10.96.3.7:80", "")
}

func TestRulesThatSomebodyTakesAwayOrGetsAheadOfComeBack(t *testing.T) {
	l := lab.New(t)
	client := l.Pod("10.244.0.20")
	l.Pod("10.244.0.11").Serve("one", 8080)
	b := start(t, l, "a", nil)
	b.web(web(nil), endpoints("10.244.0.11"))
	prefix := rule.Prefix("a")
	damage := func(args ...string) {
		t.Helper()
		b.settled(func() {
			l.Node.Do(func() {
				if out, err := exec.Command("iptables", args...).CombinedOutput(); err != nil {
					t.Errorf("%v: %v: %s", args, err, out)
				}
			})
		})
		b.answers(client, "10.96.3.7:80", "one")
		b.refused(client, "10.96.77.77:443")
	}
	whole := dump(l)
	damage("-t", "nat", "-D", "PREROUTING", "-j", prefix+"SVC")
	damage("-t", "nat", "-F", prefix+"SVC")
	damage("-F", prefix+"FWD")
	if got := dump(l); got != whole {
		t.Errorf("got\n%s\nwant\n%s", got, whole)
	}
	damage("-I", "FORWARD", "-i", "br0", "-j", "ACCEPT") // as pod networks do
	start(t, l, "b", nil)                                // two proxies let each other be first
	written := func() (n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, r := range b.results {
			if r.Bytes > 0 {
				n++
			}
		}
		return n
	}
	before := written()
	time.Sleep(200 * time.Millisecond) // a quarrel would show itself many times in this
	if after := written(); after != before {
		t.Errorf("wrote rules %d times with nothing to do", after-before)
	}
}

func TestPurgeRemovesAnInstanceAndNothingElse(t *testing.T) {
	l := lab.New(t)
	l.Node.Do(func() { // somebody else's
		if out, err := exec.Command("iptables", "-t", "mangle", "-A", "FORWARD", "-j", "ACCEPT").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	clean := dump(l)
	a := start(t, l, "a", nil)
	a.web(web(func(s *service.Service) { s.Affinity = time.Hour }), endpoints("10.244.0.11"))
	onlyA := dump(l)
	b := start(t, l, "b", nil)
	b.web(web(func(s *service.Service) { s.ClusterIP = netip.MustParseAddr("10.96.8.8") }), endpoints())
	a.stop()
	b.stop()
	purge(t, l, "b")
	if got := dump(l); got != onlyA {
		t.Errorf("after purging b: got\n%s\nwant\n%s", got, onlyA)
	}
	purge(t, l, "a")
	if got := dump(l); got != clean {
		t.Errorf("after purging both: got\n%s\nwant\n%s", got, clean)
	}
	purge(t, l, "a") // again: nothing to do
}

func purge(t *testing.T, l *lab.Lab, instance string) {
	t.Helper()
	l.Node.Do(func() {
		tools, err := iptables.All()
		if err != nil {
			t.Fatal(err)
		}
		for _, tool := range tools {
			if _, err := tool.Purge(context.Background(), rule.Prefix(instance)); err != nil {
				t.Error(err)
			}
		}
	})
}

// dump gives all rules, without counters and the times in iptables-save's comments.
func dump(l *lab.Lab) string {
	var kept []string
	l.Node.Do(func() {
		out, _ := exec.Command("iptables-save").Output()
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, ":") {
				line, _, _ = strings.Cut(line, " [")
			}
			if !strings.HasPrefix(line, "#") {
				kept = append(kept, strings.TrimSpace(line))
			}
		}
	})
	return strings.Join(kept, "\n")
}

func TestAChangeIsInTheKernelWithinMilliseconds(t *testing.T) {
	l := lab.New(t)
	b := start(t, l, "a", nil)
	b.web(web(nil), endpoints("10.244.0.11"))
	var worst, total time.Duration
	const n = 50
	for i := range n {
		begin := time.Now()
		b.web(nil, endpoints("10.244.0.11", fmt.Sprintf("10.244.1.%d@there", i+1)))
		took := time.Since(begin)
		worst, total = max(worst, took), total+took
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var restore time.Duration
	for _, r := range b.results[2:] {
		restore += r.Took
	}
	t.Logf("restore: mean %v", restore/n)
	t.Logf("endpoint change to rule in the kernel: mean %v, worst %v", total/n, worst)
}
