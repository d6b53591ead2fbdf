package bustest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"kubus.dev/proto/store"
)

// Servers are several nats-servers that are one, each configured by a file as a separate
// one is, with an account a role.
type Servers struct {
	*Accounts
	servers []*server.Server
}

// WithServers starts n servers with the roles of a control plane and of a node.
func WithServers(t testing.TB, node string, n int) *Servers {
	t.Helper()
	accounts, users := newAccounts(t, node)
	s := &Servers{Accounts: accounts}
	var clients, routes []string
	for range n {
		clients, routes = append(clients, freeAddress(t)), append(routes, freeAddress(t))
	}
	for i := range n {
		config, err := store.Render(store.Options{Dir: t.TempDir(), Name: fmt.Sprint("test-", i), Listen: clients[i], Users: users})
		if err != nil {
			t.Fatalf("bustest: %v", err)
		}
		file := filepath.Join(t.TempDir(), "nats-server.conf")
		config = fmt.Appendf(config, "cluster {\n  name: test\n  listen: %q\n  routes: [\"nats://%s\"]\n}\n", routes[i], strings.Join(routes, `", "nats://`))
		if err := os.WriteFile(file, config, 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Fatalf("bustest: %v", err)
		}
		o.NoSigs, o.NoLog = true, true
		one, err := server.NewServer(o)
		if err != nil {
			t.Fatalf("bustest: %v", err)
		}
		s.servers = append(s.servers, one)
		go one.Start() // ends with Shutdown
		t.Cleanup(func() {
			one.Shutdown()
			one.WaitForShutdown()
		})
	}
	accounts.url = "nats://" + strings.Join(clients, ",nats://")
	for deadline := time.Now().Add(2 * time.Minute); !s.elected(n); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("bustest: the servers do not become one")
		}
	}
	return s
}

// elected tells whether all servers know each other and have a leader that places streams.
func (s *Servers) elected(n int) bool {
	leads := false
	for _, one := range s.servers {
		if !one.Running() {
			continue
		}
		if one.NumRoutes() == 0 || len(one.JetStreamClusterPeers()) < n && one.JetStreamIsLeader() {
			return false
		}
		leads = leads || one.JetStreamIsLeader()
	}
	return leads
}

// StopLeader ends the server that leads a stream of an account.
func (s *Servers) StopLeader(account, stream string) {
	s.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		for _, one := range s.servers {
			if one.Running() && one.JetStreamIsStreamLeader(account, stream) {
				one.Shutdown()
				one.WaitForShutdown()
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("bustest: nobody leads %s", stream)
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
