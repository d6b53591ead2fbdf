package roster

import (
	"fmt"
	"os"

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
	for _, role := range append(proto.Roles(i.NodeName), store.OperatorRole) {
		seed, err := os.ReadFile(BusKey(i, role.Name))
		if err != nil {
			return store.Options{}, fmt.Errorf("reading a bus key: %w", err)
		}
		public, err := store.PublicKey(seed)
		if err != nil {
			return store.Options{}, err
		}
		o.Users = append(o.Users, store.User{PublicKey: public, Role: role})
	}
	return o, nil
}

// BusKey is the file with a role's key on the bus.
func BusKey(i *instance.Instance, role string) string { return i.PKI("bus/" + role + ".nk") }
