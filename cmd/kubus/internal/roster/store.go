package roster

import (
	"fmt"
	"os"
	"path/filepath"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/proto"
	"kubus.dev/proto/store"
)

// Store configures the instance's own store, embedded or a process of its own. It
// listens in both forms, with TLS and one key a role, so that automation can
// subscribe in both.
func Store(i *instance.Instance) (store.Options, error) {
	o := store.Options{
		Dir: i.Path("store"), Name: "kubus-" + i.ID, Listen: i.Address("bus"),
		CertFile: i.PKI("bus.crt"), KeyFile: i.PKI("bus.key"),
	}
	var err error
	o.Users, err = users(i)
	return o, err
}

// users are one a role, each with its key.
func users(i *instance.Instance) ([]store.User, error) {
	var out []store.User
	for _, role := range append(proto.Roles(i.NodeName), store.OperatorRole) {
		seed, err := os.ReadFile(BusKey(i, role.Name))
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

// BusKey is the file with a role's key on the bus: in the directory that was given for a
// store that is not ours, or else one of our own making. A store that asks for no keys has
// none.
func BusKey(i *instance.Instance, role string) string {
	switch {
	case i.Store == "" || i.StoreNkey == OwnKeys:
		return i.PKI("bus/" + role + ".nk")
	case i.StoreNkey == "":
		return ""
	}
	return filepath.Join(i.StoreNkey, role+".nk")
}

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
