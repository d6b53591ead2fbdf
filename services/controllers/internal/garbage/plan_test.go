package garbage

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

func newNode(uid string, owners ...string) *node {
	n := &node{key: proto.Key{GroupResource: proto.GroupResource{Resource: "things"}, Namespace: "default", Name: uid}, uid: uid}
	for _, owner := range owners {
		n.owners = append(n.owners, statelog.OwnerReference{UID: owner, BlockOwnerDeletion: true})
	}
	return n
}

func (n *node) with(change func(*node)) *node { change(n); return n }

func deleting(n *node)    { n.deleting = true }
func foreground(n *node)  { n.deleting, n.foreground = true, true }
func orphaning(n *node)   { n.deleting, n.orphaning = true, true }
func nonBlocking(n *node) { n.owners[0].BlockOwnerDeletion = false }

func TestDecide(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name     string
		node     *node
		owners   map[string]standing
		children []*node
		want     step
	}{
		{"an object with a living owner stays", newNode("a", "o"), map[string]standing{"o": solid}, nil, step{}},
		{"an object whose only owner is gone is deleted", newNode("a", "o"), map[string]standing{"o": dangling}, nil, step{Delete: metav1.DeletePropagationBackground}},
		{"a reference to a gone owner beside a living one is taken off", newNode("a", "o", "p"), map[string]standing{"o": dangling, "p": solid}, nil, step{Drop: []string{"o"}}},
		{"nothing is decided on kinds that are not served", newNode("a", "o", "p"), map[string]standing{"o": dangling, "p": unknown}, nil, step{}},
		{"what is being deleted already is left alone", newNode("a", "o").with(deleting), map[string]standing{"o": dangling}, nil, step{}},
		{"a dependent of a waiting owner is deleted", newNode("a", "o"), map[string]standing{"o": waitingOn}, nil, step{Delete: metav1.DeletePropagationBackground}},
		{"in the foreground when it has dependents itself", newNode("a", "o"), map[string]standing{"o": waitingOn}, []*node{newNode("c", "a")}, step{Delete: metav1.DeletePropagationForeground}},
		{"and made non-blocking when one of those waits as well", newNode("a", "o"), map[string]standing{"o": waitingOn}, []*node{newNode("c", "a").with(foreground)},
			step{Delete: metav1.DeletePropagationForeground, Unblock: true}},
		{"a waiting owner without dependents loses its finalizer", newNode("a").with(foreground), nil, nil, step{RemoveFinalizer: metav1.FinalizerDeleteDependents}},
		{"a waiting owner looks at dependents that block it", newNode("a").with(foreground), nil, []*node{newNode("c", "a")}, step{WakeChildren: true}},
		{"and waits for those on their way", newNode("a").with(foreground), nil, []*node{newNode("c", "a").with(deleting)}, step{}},
		{"dependents that do not block do not keep it", newNode("a").with(foreground), nil, []*node{newNode("c", "a").with(nonBlocking)}, step{RemoveFinalizer: metav1.FinalizerDeleteDependents}},
		{"an orphaning owner lets its dependents go", newNode("a").with(orphaning), nil, []*node{newNode("c", "a")}, step{Release: []*node{newNode("c", "a")}, RemoveFinalizer: metav1.FinalizerOrphanDependents}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := decide(c.node, func(ref *statelog.OwnerReference) standing { return c.owners[ref.UID] }, c.children)
			if got.Delete != c.want.Delete || got.Unblock != c.want.Unblock || got.RemoveFinalizer != c.want.RemoveFinalizer ||
				got.WakeChildren != c.want.WakeChildren || !slices.Equal(got.Drop, c.want.Drop) || len(got.Release) != len(c.want.Release) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAClusterScopedObjectWithANamespacedOwnerIsReported(t *testing.T) {
	t.Parallel()
	got := decide(newNode("a", "o"), func(*statelog.OwnerReference) standing { return misplaced }, nil)
	if got.Misplaced == nil || got.Delete != "" {
		t.Errorf("got %+v", got)
	}
}

func TestWhatTheGraphWakes(t *testing.T) {
	t.Parallel()
	g := newGraph()
	if w := g.put(newNode("child", "owner")); !slices.Equal(w.items, []string{"child"}) {
		t.Errorf("a new dependent: %+v", w)
	}
	if w := g.put(newNode("child", "owner")); len(w.items) != 0 {
		t.Errorf("an unchanged dependent: %+v", w)
	}
	if w := g.put(newNode("owner").with(foreground)); !slices.Equal(w.items, []string{"owner"}) || !slices.Equal(w.children, []string{"owner"}) {
		t.Errorf("an owner that begins to wait: %+v", w)
	}
	if w := g.remove("child"); !slices.Equal(w.items, []string{"owner"}) {
		t.Errorf("a dependent that goes while its owner waits: %+v", w)
	}
	g.put(newNode("child", "owner"))
	if w := g.remove("owner"); !slices.Equal(w.children, []string{"owner"}) || len(g.children("owner")) != 1 {
		t.Errorf("an owner that goes: %+v", w)
	}
	if w := g.remove("never seen"); len(w.items)+len(w.children) != 0 {
		t.Errorf("an object nobody knows: %+v", w)
	}
	again := newNode("other")
	again.key.Name = "child" // the same name, another object
	g.put(again)
	if g.get("child") != nil || len(g.children("owner")) != 0 {
		t.Error("the old object of the name is still there")
	}
}
