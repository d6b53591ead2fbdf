package roster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/proto"
	"kubus.dev/proto/store"
)

// Store configures the instance's own store, embedded or a process of its own. It
// listens in both forms, with TLS and one key a role, so that automation can
// subscribe in both.
func Store(i *instance.Instance) (store.Options, error) {
	o := store.Options{
		Dir: i.Path("store"), Name: "kubus-" + i.ID, Listen: i.BusAddress(),
		CertFile: i.PKI("bus.crt"), KeyFile: i.PKI("bus.key"),
	}
	var err error
	o.Users, err = users(i)
	return o, err
}

// Roles lists the roles of an instance, those of each of its nodes and the operator's.
func Roles(i *instance.Instance) []proto.Role {
	nodes := i.NodeNames()
	if len(nodes) == 0 {
		nodes = []string{i.NodeName} // somebody else may run its agent
	}
	return append(proto.Roles(nodes...), store.OperatorRole)
}

// users are one a role, each with its key.
func users(i *instance.Instance) ([]store.User, error) {
	var out []store.User
	for _, role := range Roles(i) {
		seed, err := os.ReadFile(BusKey(i, role.Client()))
		if err != nil {
			return nil, fmt.Errorf("reading a bus key: %w", err)
		}
		public, err := store.PublicKey(seed)
		if err != nil {
			return nil, err
		}
		out = append(out, store.User{PublicKey: public, Role: role})
	}
	return out, nil
}

// BusKey is the file with the key of a client on the bus, proto.Role.Client: in the
// directory that was given for a store that is not ours, or else one of our own making. A
// store that asks for no keys has none.
func BusKey(i *instance.Instance, client string) string {
	switch {
	case i.Store == "" || i.StoreNkey == OwnKeys:
		return i.PKI("bus/" + KeyName(client) + ".nk")
	case i.StoreNkey == "":
		return ""
	}
	return filepath.Join(i.StoreNkey, KeyName(client)+".nk")
}

// KeyName is what the file with a client's key is called: gateway, or agent-NODE.
func KeyName(client string) string { return strings.ReplaceAll(client, "/", "-") }

// OwnKeys in place of a directory: the keys are the instance's own, and the store reads
// the accounts from AccountsFile.
const OwnKeys = "own"

// BusCA is the file with what vouches for the store's certificate, "" for none.
func BusCA(i *instance.Instance) string {
	if i.Store != "" {
		return i.StoreCA
	}
	return i.PKI("bus-ca.crt")
}

// AccountsFile has the accounts of the instance's keys, for the configuration of a store
// that is not ours to include.
func AccountsFile(i *instance.Instance) string { return i.Path("config", "nats-accounts.conf") }

// WriteAccounts writes AccountsFile.
func WriteAccounts(i *instance.Instance) error {
	users, err := users(i)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(i.Path("config"), 0o700); err != nil {
		return fmt.Errorf("writing the accounts of the store: %w", err)
	}
	return instance.WriteFile(AccountsFile(i), store.RenderAccounts(users), 0o600)
}
