package roster

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/pki"
)

// What has read another key is another process; whoever has not is the same.
func TestAKeyThatChangesIsOfWhoeverReadsIt(t *testing.T) {
	t.Parallel()
	i := &instance.Instance{Dir: t.TempDir(), NodeName: "n", Nodes: 1, NodeIP: "192.0.2.1", Listen: "127.0.0.1:6443", ServiceCIDR: "10.96.0.0/16", PodCIDR: "10.244.0.0/16"}
	ensure := func() {
		if err := pki.Ensure(pki.Options{Dir: i.Path("pki"), Clients: KeyNames(i), Now: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	ensure()
	stamps := func() map[string][]byte {
		t.Helper()
		configs, err := Configs(i)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string][]byte{}
		for _, s := range All() {
			if out[s.Name], err = s.Keys(configs[s.Name]); err != nil {
				t.Fatal(err)
			}
		}
		for name, of := range map[string]func(*instance.Instance) ([]byte, error){"nats-server": StoreKeys, "allinone": AllKeys} {
			if out[name], err = of(i); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	everybody := []string{"allinone"}
	for _, s := range All() {
		everybody = append(everybody, s.Name)
	}
	dir := i.Path("pki")
	for what, c := range map[string]struct {
		change func() error
		want   []string
	}{
		"nothing":            {func() error { return nil }, nil},
		"the gateway's key":  {func() error { return pki.RotateClients(dir, []string{"gateway"}) }, []string{"allinone", "gateway"}},
		"an agent's key":     {func() error { return pki.RotateClients(dir, []string{"agent-n"}) }, []string{"agent", "allinone"}},
		"a group's key":      {func() error { return pki.RotateClients(dir, []string{"controllers-nodes"}) }, []string{"allinone", "controllers"}},
		"automation's key":   {func() error { return pki.RotateClients(dir, []string{"automation"}) }, []string{"allinone"}},
		"the log's key":      {func() error { return pki.AddLogKey(dir) }, []string{"allinone", "gateway"}},
		"its older keys":     {func() error { return pki.ForgetLogKeys(dir) }, []string{"allinone", "gateway"}},
		"the certificate":    {func() error { return pki.DropBusCertificate(dir, false) }, []string{"allinone", "nats-server"}},
		"with its authority": {func() error { return pki.DropBusCertificate(dir, true) }, append(everybody, "nats-server")},
	} {
		if what == "its older keys" {
			if err := pki.AddLogKey(dir); err != nil {
				t.Fatal(err)
			}
		}
		before := stamps()
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		ensure()
		var changed []string
		for name, stamp := range stamps() {
			if !bytes.Equal(stamp, before[name]) {
				changed = append(changed, name)
			}
		}
		slices.Sort(changed)
		slices.Sort(c.want)
		if !slices.Equal(changed, c.want) {
			t.Errorf("%s: restarts %s, want %s", what, strings.Join(changed, " "), strings.Join(c.want, " "))
		}
	}
}
