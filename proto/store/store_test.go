package store

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
)

func users(t *testing.T) []User {
	t.Helper()
	var out []User
	for _, r := range append(proto.Roles("node-1"), OperatorRole) {
		_, public, err := NewKey()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, User{PublicKey: public, Role: r})
	}
	return out
}

func TestTheRenderedConfigurationEqualsTheEmbeddedServer(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), `with "quotes"`), Name: "kubus-1", Listen: "127.0.0.1:4333", Users: users(t)}
	config, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nats-server.conf")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%v in\n%s", err, config)
	}
	want, err := o.native()
	if err != nil {
		t.Fatal(err)
	}
	type settings struct {
		Name, Host, Dir string
		Port            int
		Payload         int32
		Sync            bool
		Users, Accounts int
	}
	brief := func(o *server.Options) settings {
		return settings{o.ServerName, o.Host, o.StoreDir, o.Port, o.MaxPayload, o.SyncAlways, len(o.Nkeys), len(o.Accounts)}
	}
	if brief(got) != brief(want) || got.StoreDir != o.Dir || len(got.Nkeys) != len(o.Users) {
		t.Errorf("got %+v, want %+v from\n%s", brief(got), brief(want), config)
	}
	for i, u := range got.Nkeys {
		publish, subscribe := Permissions(o.role(u.Nkey))
		if u.Account.Name != o.role(u.Nkey).Account() || !reflect.DeepEqual(u.Permissions.Publish.Allow, publish) || !reflect.DeepEqual(u.Permissions.Subscribe.Allow, subscribe) {
			t.Errorf("user %d: got %+v in %s", i, u.Permissions, u.Account.Name)
		}
	}
}

func (o *Options) role(key string) proto.Role {
	i := slices.IndexFunc(o.Users, func(u User) bool { return u.PublicKey == key })
	return o.Users[i].Role
}

func TestOnlyTheGatewayAndTheOperatorMayPublishState(t *testing.T) {
	for _, r := range append(proto.Roles("node-1"), OperatorRole) {
		publish, _ := Permissions(r)
		may := slices.ContainsFunc(publish, func(s string) bool {
			return s == ">" || strings.HasPrefix(s, "state") || strings.HasPrefix(s, "$JS.API.STREAM.CREATE.*")
		})
		if want := r.Name == "gateway" || r.Name == "operator"; may != want {
			t.Errorf("%s: may publish state is %v, want %v: %q", r.Name, may, want, publish)
		}
	}
}

func TestAnAgentMaySpeakForItsOwnNodeOnly(t *testing.T) {
	for _, r := range proto.Roles("node-1") {
		if r.Name != "agent" {
			continue
		}
		publish, subscribe := Permissions(r)
		for _, s := range append(publish, subscribe...) {
			if !strings.Contains(s, "node-1") && s != "_R_.>" && s != proto.GatewayHelloSubject && s != proto.UsageSampleSubject {
				t.Errorf("an agent may use %s", s)
			}
		}
		if slices.Contains(publish, proto.UsageSampleSubject) {
			t.Error("an agent may ask the others what they use")
		}
	}
}

func TestABusyPortIsAnErrorThatNamesIt(t *testing.T) {
	first, err := Start(t.Context(), Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: users(t), Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Shutdown()
	address := strings.TrimPrefix(first.ClientURL(), "nats://")
	_, err = Start(t.Context(), Options{Dir: t.TempDir(), Listen: address, Users: users(t)})
	if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), address[strings.LastIndex(address, ":"):]) {
		t.Errorf("got %v for %s", err, address)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"no directory":                  {},
		"listening without users":       {Dir: "/x", Listen: "127.0.0.1:0"},
		"a certificate without its key": {Dir: "/x", CertFile: "/y"},
	} {
		if _, err := Start(t.Context(), o); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}
