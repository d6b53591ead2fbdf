package nodelease

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

// objects is a view of the Nodes and Namespaces that it names.
type objects map[proto.Key]*statelog.Entry

func (o objects) Get(gr proto.GroupResource, ns, name string) *statelog.Entry {
	return o[proto.Key{GroupResource: gr, Namespace: ns, Name: name}]
}

func (o objects) add(gr proto.GroupResource, name, uid string) {
	key := proto.Key{GroupResource: gr, Name: name}
	o[key] = statelog.NewEntry(key, 7, fmt.Appendf(nil, `{"metadata":{"name":%q,"uid":%q,"creationTimestamp":"2026-01-01T00:00:00Z"}}`, name, uid), false)
}

// world has the namespace and two nodes.
func world() objects {
	o := objects{}
	o.add(namespaces, "kube-node-lease", "")
	o.add(nodes, "a", "uid-a")
	o.add(nodes, "b", "uid-b")
	return o
}

func shown(l *Leases, ns string) string {
	var names []string
	for _, e := range l.List(ns, 3) {
		names = append(names, e.Key().Namespace+"/"+e.Key().Name)
	}
	return strings.Join(names, " ")
}

func TestTheLeaseIsTheOneAKubeletKeeps(t *testing.T) {
	t.Parallel()
	l := New(world())
	l.Beat("a", now)
	const want = `{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"resourceVersion":"3","name":"a","namespace":"kube-node-lease",` +
		`"uid":"61b0849f-ee64-59e9-9a42-97c4a4f4721b","creationTimestamp":"2026-01-01T00:00:00Z","ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"a","uid":"uid-a"}]},` +
		`"spec":{"holderIdentity":"a","leaseDurationSeconds":40,"renewTime":"2026-01-02T03:04:05.000006Z"}}`
	if got := string(l.Get("kube-node-lease", "a", 3).JSON()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWhatIsShown(t *testing.T) {
	t.Parallel()
	const both = "kube-node-lease/a kube-node-lease/b"
	for _, c := range []struct {
		name, ns, want string
		change         func(l *Leases, o objects)
	}{
		{name: "every node that beat, in order", ns: "kube-node-lease", want: both},
		{name: "they are in the list of all namespaces", want: both},
		{name: "they are in no other namespace", ns: "default"},
		{name: "a node without an object has none", want: "kube-node-lease/b", change: func(_ *Leases, o objects) { delete(o, proto.Key{GroupResource: nodes, Name: "a"}) }},
		{name: "without the namespace there are none", change: func(_ *Leases, o objects) {
			delete(o, proto.Key{GroupResource: namespaces, Name: "kube-node-lease"})
		}},
		{name: "a forgotten one is gone", want: "kube-node-lease/b", change: func(l *Leases, _ objects) { l.Forget("kube-node-lease", "a") }},
		{name: "it is there again with the next heartbeat", want: both, change: func(l *Leases, _ objects) {
			l.Forget("kube-node-lease", "a")
			l.Beat("a", now)
		}},
		{name: "one of that name elsewhere is another", want: both, change: func(l *Leases, _ objects) { l.Forget("default", "a") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := world()
			l := New(o)
			l.Beat("b", now)
			l.Beat("a", now)
			if c.change != nil {
				c.change(l, o)
			}
			if got := shown(l, c.ns); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			for _, name := range []string{"a", "b"} {
				inList := strings.Contains(shown(l, ""), "/"+name)
				if got := l.Get("kube-node-lease", name, 3) != nil; got != inList {
					t.Errorf("Get of %s: got %t, the list says %t", name, got, inList)
				}
			}
			if l.Get("default", "a", 3) != nil || l.Get("kube-node-lease", "c", 3) != nil {
				t.Error("got a lease that no list has")
			}
		})
	}
}

func TestAnEntryChangesOnlyWithWhatItSays(t *testing.T) {
	t.Parallel()
	o := world()
	l := New(o)
	l.Beat("a", now)
	get := func(revision uint64) *statelog.Entry { return l.Get("kube-node-lease", "a", revision) }
	first := get(3)
	if get(3) != first {
		t.Error("two looks made two entries")
	}
	if e := get(4); e == first || e.Revision() != 4 {
		t.Error("the revision stayed")
	}
	l.Beat("a", now.Add(10*time.Second))
	if e := get(4); !strings.Contains(string(e.Data()), `"renewTime":"2026-01-02T03:04:15.000006Z"`) {
		t.Errorf("after a heartbeat: got %s", e.Data())
	}
	o.add(nodes, "a", "uid-c")
	if e := get(4); !strings.Contains(string(e.Data()), `"uid":"uid-c"`) || e.Meta().UID == first.Meta().UID {
		t.Errorf("of a new node: got %s", e.Data())
	}
}

func TestNodesThatAreNoMoreAreForgotten(t *testing.T) {
	t.Parallel()
	l := New(world())
	l.Beat("a", now)
	for i := range 10 * leastSweep {
		l.Beat(fmt.Sprintf("gone-%d", i), now)
	}
	for i := range 11 * leastSweep {
		l.Beat(fmt.Sprintf("new-%d", i), now.Add(2*sweepAge))
	}
	if l.beats["a"] == nil || l.beats["gone-7"] != nil || l.beats["new-7"] == nil {
		t.Errorf("%d are left: a %v, gone %v, new %v", len(l.beats), l.beats["a"], l.beats["gone-7"], l.beats["new-7"])
	}
}

func TestAHeartbeatCostsNothing(t *testing.T) {
	l := New(world())
	l.Beat("a", now)
	if n := testing.AllocsPerRun(100, func() { l.Beat("a", now) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}
