package instance

import (
	"slices"
	"testing"
)

func TestANodeKeepsItsPlaceWhileOthersComeAndGo(t *testing.T) {
	i := &Instance{Dir: "/d", ID: "abcdef", NodeName: "n", NodeIP: "192.0.2.1", Nodes: 1, NodeCIDR: "10.232.0.0/24", Ports: map[string]int{"bus": 7}}
	if got := i.BusAddress(); got != "127.0.0.1:7" {
		t.Errorf("with one node the bus is at %s", got)
	}
	add := func(name, want, ip string) {
		t.Helper()
		n, err := i.AddNode(name)
		if err != nil || n.Name != want || n.IP != ip {
			t.Errorf("added %q: got %s at %s, %v; want %s at %s", name, n.Name, n.IP, err, want, ip)
		}
	}
	add("", "n-2", "10.232.0.2")
	add("other", "other", "10.232.0.3")
	add("", "n-4", "10.232.0.4")
	if !i.ForgetNode("other") || i.ForgetNode("other") || i.ForgetNode("n") {
		t.Error("a further node is forgotten once, the machine never")
	}
	if i.Nodes != 3 || !slices.Equal(i.NodeNames(), []string{"n", "n-2", "n-4"}) {
		t.Errorf("got %d: %v", i.Nodes, i.NodeNames())
	}
	add("", "n-3", "10.232.0.3") // what is free again
	for _, taken := range []string{"n", "n-2"} {
		if _, err := i.AddNode(taken); err == nil {
			t.Errorf("a second %s was added", taken)
		}
	}
	if got := i.BusAddress(); got != "10.232.0.1:7" {
		t.Errorf("with several nodes the bus is at %s", got)
	}
	for len(i.Further) < MaxNodes-1 {
		if _, err := i.AddNode(""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := i.AddNode(""); err == nil {
		t.Error("there is no end of nodes")
	}
	seen := map[string]bool{}
	for _, n := range i.AllNodes() {
		if seen[n.IP] || seen[n.ID] || seen[n.Dir] || seen[n.Name] {
			t.Errorf("%+v shares something", n)
		}
		seen[n.IP], seen[n.ID], seen[n.Dir], seen[n.Name] = true, true, true, true
	}
}
