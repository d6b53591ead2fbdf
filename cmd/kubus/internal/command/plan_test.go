package command

import (
	"slices"
	"strings"
	"testing"

	"kubus.dev/cmd/kubus/internal/instance"
)

// said gives the flags of a command line with these given and the rest at their defaults.
func said(given map[string]string) upFlags {
	f := upFlags{
		dataDir: "/data", listen: "127.0.0.1:6443", nodes: 1, podCIDR: "10.244.0.0/16", serviceCIDR: "10.96.0.0/16",
		form: instance.AllInOne, nodeCIDR: "10.232.0.0/24", podNetwork: "routes",
	}
	for flag, value := range given {
		*map[string]*string{
			"listen": &f.listen, "node-name": &f.nodeName, "node-ip": &f.nodeIP, "pod-cidr": &f.podCIDR,
			"service-cidr": &f.serviceCIDR, "store": &f.store, "form": &f.form,
		}[flag] = value
	}
	f.changed = func(flag string) bool { _, ok := given[flag]; return ok }
	return f
}

func first(t *testing.T) *instance.Instance {
	t.Helper()
	i, err := plan(said(map[string]string{"node-name": "n1", "pod-cidr": "10.50.0.0/16", "listen": "127.0.0.1:7443"}), nil, "host")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestTheFirstStartTakesDefaultsAndTheHostsName(t *testing.T) {
	i, err := plan(said(nil), nil, "Host.Example")
	if err != nil {
		t.Fatal(err)
	}
	if i.NodeName != "host.example" || i.Listen != "127.0.0.1:6443" || i.Nodes != 1 || i.ID == "" {
		t.Errorf("got %+v", i)
	}
}

func TestALaterStartNeedsNoFlags(t *testing.T) {
	old := first(t)
	i, err := plan(said(nil), old, "another-host-name")
	if err != nil {
		t.Fatal(err)
	}
	if i.NodeName != "n1" || i.PodCIDR != "10.50.0.0/16" || i.Listen != "127.0.0.1:7443" || i.ID != old.ID {
		t.Errorf("got %+v, want what was chosen first: %+v", i, old)
	}
}

func TestWhatAClusterIsBuiltOnCannotBeChangedLater(t *testing.T) {
	for flag, value := range map[string]string{"node-name": "n2", "pod-cidr": "10.60.0.0/16", "service-cidr": "10.97.0.0/16"} {
		_, err := plan(said(map[string]string{flag: value}), first(t), "host")
		if err == nil || !strings.Contains(err.Error(), "--"+flag) || !strings.Contains(err.Error(), "down --purge") {
			t.Errorf("--%s %s: got %v", flag, value, err)
		}
	}
	i, err := plan(said(map[string]string{"listen": "0.0.0.0:443", "form": instance.Services}), first(t), "host")
	if err != nil || i.Listen != "0.0.0.0:443" || i.Form != instance.Services {
		t.Errorf("the address and the form may change: got %+v, %v", i, err)
	}
}

func TestNodesAreAddedAndNeverTakenAwayByUp(t *testing.T) {
	with := func(count int) upFlags {
		f := said(nil)
		f.nodes, f.changed = count, func(flag string) bool { return flag == "nodes" }
		return f
	}
	i, err := plan(with(3), nil, "host")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := i.NodeNames(), []string{"host", "host-2", "host-3"}; !slices.Equal(got, want) {
		t.Errorf("the nodes are %v, want %v", got, want)
	}
	further := i.FurtherNodes()
	if further[0].IP != "10.232.0.2" || further[1].IP != "10.232.0.3" || further[0].ID == further[1].ID || further[0].Dir == further[1].Dir {
		t.Errorf("got %+v", further)
	}
	if later, err := plan(said(nil), i, "host"); err != nil || later.Nodes != 3 {
		t.Errorf("a later start without the flag: %+v, %v", later, err)
	}
	if _, err := plan(with(2), i, "host"); err == nil || !strings.Contains(err.Error(), "kubus node remove host-3") {
		t.Errorf("fewer: %v", err)
	}
	more, err := plan(with(4), i, "host")
	if err != nil || !slices.Equal(more.NodeNames(), []string{"host", "host-2", "host-3", "host-4"}) {
		t.Errorf("more: %v, %v", more.NodeNames(), err)
	}
	if !slices.Equal(i.NodeNames(), []string{"host", "host-2", "host-3"}) {
		t.Errorf("a plan changed what it was made from: %v", i.NodeNames())
	}
	none, err := plan(with(0), nil, "host")
	if err != nil || none.Nodes != 0 || len(none.NodeNames()) != 0 {
		t.Errorf("none: %+v, %v", none, err)
	}
	small := with(3)
	small.podCIDR = "10.244.0.0/23"
	if _, err := plan(small, nil, "host"); err == nil || !strings.Contains(err.Error(), "for 3 nodes") {
		t.Errorf("a range for two: %v", err)
	}
	loopback := with(2)
	loopback.store = "nats://127.0.0.1:4222"
	if _, err := plan(loopback, nil, "host"); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("a store on loopback: %v", err)
	}
}

func TestPodsReachTheAPIWhereItListensForThem(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:6443": "192.0.2.7:6443", "192.0.2.7:6443": "", "0.0.0.0:6443": "", ":6443": "", "192.0.2.8:6443": "192.0.2.7:6443",
	} {
		i := &instance.Instance{Listen: listen, NodeIP: "192.0.2.7", Nodes: 1}
		if got := i.NodeAddress(); got != want {
			t.Errorf("--listen %s: got %q, want %q", listen, got, want)
		}
	}
}

func TestALeadingDataDirBelongsToKubusAndTheRestToKubectl(t *testing.T) {
	t.Setenv("KUBUS_DATA_DIR", "")
	for name, c := range map[string]struct {
		args []string
		dir  string
		rest []string
	}{
		"none":            {[]string{"get", "pods"}, DefaultDataDir, []string{"get", "pods"}},
		"two words":       {[]string{"--data-dir", "/x", "get"}, "/x", []string{"get"}},
		"one word":        {[]string{"--data-dir=/x", "get"}, "/x", []string{"get"}},
		"after a command": {[]string{"get", "--data-dir", "/x"}, DefaultDataDir, []string{"get", "--data-dir", "/x"}},
	} {
		dir, rest := splitDataDir(c.args)
		if dir != c.dir || !slices.Equal(rest, c.rest) {
			t.Errorf("%s: got %s %v, want %s %v", name, dir, rest, c.dir, c.rest)
		}
	}
}

func TestPrintedCommandsSurviveAShell(t *testing.T) {
	for in, want := range map[string]string{"/var/lib/kubus": "/var/lib/kubus", "/a b": "'/a b'", "it's": `'it'\''s'`, "": "''"} {
		if got := quote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
