package roster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/gateway"
	"kubus.dev/services/controllers"
)

func newInstance(t *testing.T, settings string) *instance.Instance {
	t.Helper()
	i := &instance.Instance{Dir: t.TempDir(), ID: "abcdef", Listen: "127.0.0.1:6443", NodeName: "n", NodeIP: "127.0.0.1",
		PodCIDR: "10.244.0.0/16", ServiceCIDR: "10.96.0.0/16", Ports: map[string]int{}}
	if settings != "" {
		if err := os.WriteFile(SettingsFile(i), []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func configOf[C any](t *testing.T, i *instance.Instance, name string) C {
	t.Helper()
	configs, err := Configs(i)
	if err != nil {
		t.Fatal(err)
	}
	return *configs[name].(*C)
}

func TestSettingsGoOverWhatFollowsFromTheInstance(t *testing.T) {
	i := newInstance(t, "gateway:\n  admission:\n    disable: [PodSecurity]\n")
	g := configOf[gateway.Config](t, i, "gateway")
	if len(g.Admission.Disable) != 1 || g.Admission.Disable[0] != "PodSecurity" {
		t.Errorf("disabled plugins are %v", g.Admission.Disable)
	}
	if g.API.Listen != "127.0.0.1:6443" {
		t.Errorf("the address is %q, which nobody set", g.API.Listen)
	}
	if c := configOf[controllers.Config](t, i, "controllers"); c.PodCIDR != "10.244.0.0/16" {
		t.Errorf("a service without settings has the pod range %q", c.PodCIDR)
	}
}

func TestAnInstanceWithoutSettingsHasWhatFollowsFromIt(t *testing.T) {
	for _, settings := range []string{"", "gateway:\n", "# nothing yet\n"} {
		i := newInstance(t, settings)
		if err := CheckSettings(i, ""); err != nil {
			t.Errorf("%q: %v", settings, err)
		}
		if g := configOf[gateway.Config](t, i, "gateway"); g.ServiceCIDR != "10.96.0.0/16" {
			t.Errorf("%q: the service range is %q", settings, g.ServiceCIDR)
		}
	}
}

func TestWrongSettingsAreRefusedAndTheOldOnesStay(t *testing.T) {
	const good = "gateway:\n  replicas: 1\n"
	for _, c := range []struct{ name, settings, says string }{
		{"a service that is not there", "kubelet: {}\n", `no service "kubelet"`},
		{"a key that is not there", "gateway:\n  admision: {}\n", "field admision not found"},
		{"another type", "gateway:\n  replicas: many\n", "cannot unmarshal !!str `many` into int"},
		{"no document of services", "- gateway\n", "want a key a service"},
		{"two that are wrong", "dns: {adress: x}\nproxy: {x: 1}\n", "field x not found"},
		{"no YAML", "gateway: {\n", "want a key a service"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := newInstance(t, good)
			file := filepath.Join(t.TempDir(), "new.yaml")
			if err := os.WriteFile(file, []byte(c.settings), 0o600); err != nil {
				t.Fatal(err)
			}
			err := KeepSettings(i, file)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want one with %q", err, c.says)
			}
			if kept, _ := os.ReadFile(SettingsFile(i)); string(kept) != good {
				t.Errorf("the settings are now %q", kept)
			}
		})
	}
}

func TestGivenSettingsAreKept(t *testing.T) {
	i := newInstance(t, "gateway:\n  replicas: 1\n")
	file := filepath.Join(t.TempDir(), "new.yaml")
	if err := os.WriteFile(file, []byte("gateway:\n  replicas: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := KeepSettings(i, file); err != nil {
		t.Fatal(err)
	}
	if g := configOf[gateway.Config](t, i, "gateway"); g.Replicas != 3 {
		t.Errorf("replicas are %d", g.Replicas)
	}
}
