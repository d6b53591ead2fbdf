package proxy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
	"kubus.dev/services/kit/kittest"
	"kubus.dev/services/proxy"
)

// inNamespace runs the test again as a process in a network namespace of its own
// and reports what came of it; there it returns true. A whole service does not
// stay on one thread, as package lab's functions do.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("KUBUS_IN_NAMESPACE") != "" {
		return true
	}
	kittest.NeedRoot(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "KUBUS_IN_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

func TestRunServesWhatTheLogSays(t *testing.T) {
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
	p := &kit.Process{Logger: zaptest.NewLogger(t), Health: kit.NewHealth()}
	done := make(chan error, 1)
	go func() { done <- proxy.Run(ctx, cfg, p, c) }()

	put(t, conn, services, "web", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"default"},
		"spec":{"clusterIP":"10.96.3.7","ports":[{"port":80,"protocol":"TCP"}]}}`)
	var took []time.Duration
	for i := range 40 {
		server := fmt.Sprintf("192.0.2.%d", 1+i%2)
		put(t, conn, endpointSlices, "web-1", fmt.Sprintf(`{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice",
			"metadata":{"name":"web-1","namespace":"default","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",
			"ports":[{"name":"","port":8080,"protocol":"TCP"}],"endpoints":[{"addresses":["%s"],"nodeName":"here"}]}`, server))
		begin := time.Now()
		for ask("10.96.3.7:80") != server {
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("step %d: %s did not answer; health: %v", i, server, p.Health.Check())
			}
			time.Sleep(200 * time.Microsecond)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	t.Logf("acknowledged endpoint change to new connections: p50 %v, worst %v", took[len(took)/2], took[len(took)-1])
	if failures := p.Health.Check(); len(failures) > 0 {
		t.Errorf("not healthy: %v", failures)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := proxy.Purge(t.Context(), cfg, zaptest.NewLogger(t)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("iptables-save").Output(); err != nil || len(out) > 0 {
		t.Errorf("left after the purge: %v\n%s", err, out)
	}
}

var (
	services       = proto.GroupResource{Resource: "services"}
	endpointSlices = proto.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

func put(t *testing.T, conn *bus.Conn, gr proto.GroupResource, name, object string) {
	t.Helper()
	key := proto.Key{GroupResource: gr, Namespace: "default", Name: name}
	if _, err := conn.PublishStream(t.Context(), key.Subject(), []byte(object), nil); err != nil {
		t.Fatal(err)
	}
}

// network gives the namespace two addresses, a default route, and a server on
// each address that answers with it.
func network(t *testing.T) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	check(err)
	check(netlink.LinkSetUp(lo))
	wan := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "wan0"}}
	check(netlink.LinkAdd(wan))
	check(netlink.LinkSetUp(wan))
	for _, ip := range []string{"192.0.2.1", "192.0.2.2"} {
		addr, err := netlink.ParseAddr(ip + "/24")
		check(err)
		check(netlink.AddrAdd(wan, addr))
		l, err := net.Listen("tcp4", ip+":8080")
		check(err)
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(ip))
				_ = c.Close()
			}
		}()
	}
	_, all, err := net.ParseCIDR("0.0.0.0/0")
	check(err)
	check(netlink.RouteAdd(&netlink.Route{Dst: all, Gw: net.ParseIP("192.0.2.254")}))
}

func ask(address string) string {
	c, err := net.DialTimeout("tcp4", address, 100*time.Millisecond)
	if err != nil {
		return ""
	}
	defer c.Close()
	buf := make([]byte, 64)
	n, _ := c.Read(buf)
	return string(buf[:n])
}
