package bustest

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/store"
)

// Accounts is a server on which each role has its account, as in a cluster.
type Accounts struct {
	t      testing.TB
	server *store.Server // nil: the servers at url
	url    string
	roles  map[string]proto.Role // by client
	seeds  map[string]string     // files, by client
}

// WithAccounts starts a server with the roles of a control plane and of nodes.
func WithAccounts(t testing.TB, nodes ...string) *Accounts {
	t.Helper()
	a, users := newAccounts(t, nodes...)
	var err error
	if a.server, err = store.Start(t.Context(), store.Options{Dir: t.TempDir(), Name: "test", Users: users, Logger: zap.NewNop()}); err != nil {
		t.Fatalf("bustest: %v", err)
	}
	t.Cleanup(a.server.Shutdown)
	return a
}

// newAccounts makes the keys of all roles.
func newAccounts(t testing.TB, nodes ...string) (*Accounts, []store.User) {
	t.Helper()
	a := &Accounts{t: t, roles: map[string]proto.Role{}, seeds: map[string]string{}}
	var users []store.User
	dir := t.TempDir()
	for _, role := range append(proto.Roles(nodes...), store.OperatorRole) {
		seed, public, err := store.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, proto.Token(role.Client())+".nk")
		if err := os.WriteFile(file, seed, 0o600); err != nil {
			t.Fatal(err)
		}
		a.roles[role.Client()], a.seeds[role.Client()] = role, file
		users = append(users, store.User{PublicKey: public, Role: role})
	}
	return a, users
}

// Clients are those that Connect knows, each with its role.
func (a *Accounts) Clients() map[string]proto.Role { return maps.Clone(a.roles) }

// Connect opens a connection as a client (proto.Role.Client).
func (a *Accounts) Connect(client string) *bus.Conn {
	a.t.Helper()
	o := bus.Options{URL: a.url, Name: client, NkeySeedFile: a.seeds[client], Logger: zap.NewNop()}
	if a.server != nil {
		o.InProcess = a.server
	}
	c, err := bus.Connect(a.t.Context(), o)
	if err != nil {
		a.t.Fatalf("bustest: %s: %v", client, err)
	}
	a.t.Cleanup(func() { _ = c.Drain() })
	return c
}
