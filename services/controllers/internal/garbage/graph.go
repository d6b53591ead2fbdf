package garbage

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/feed"
)

// node is one object as far as the collector cares.
type node struct {
	key        proto.Key
	uid        string
	resource   *feed.Resource
	owners     []statelog.OwnerReference
	deleting   bool // has a deletionTimestamp
	foreground bool // waits for its dependents to be deleted
	orphaning  bool // waits for its dependents to be let go
}

func (n *node) owner(uid string) *statelog.OwnerReference {
	for i := range n.owners {
		if n.owners[i].UID == uid {
			return &n.owners[i]
		}
	}
	return nil
}

// waits is true for an owner that goes only after its dependents.
func (n *node) waits() bool { return n.deleting && n.foreground }

// graph knows who depends on whom, by UID. Objects that own nothing, are owned by
// nothing and are not being deleted in a special way are not kept.
type graph struct {
	mu         sync.Mutex
	nodes      map[string]*node
	names      map[proto.Key]string        // uid of each kept object
	dependents map[string]map[string]*node // owner's uid, dependent's uid
}

func newGraph() *graph {
	return &graph{nodes: map[string]*node{}, names: map[proto.Key]string{}, dependents: map[string]map[string]*node{}}
}

// work is what is to be looked at after a change.
type work struct {
	items    []string // these objects
	children []string // all dependents of these
}

func nodeOf(resource *feed.Resource, entry *statelog.Entry) *node {
	meta := entry.ParseMeta()
	n := &node{key: entry.Key(), uid: meta.UID, resource: resource, owners: meta.OwnerReferences, deleting: meta.DeletionTimestamp != ""}
	for _, finalizer := range meta.Finalizers {
		switch finalizer {
		case metav1.FinalizerDeleteDependents:
			n.foreground = true
		case metav1.FinalizerOrphanDependents:
			n.orphaning = true
		}
	}
	return n
}

// put takes the present state of an object.
func (g *graph) put(n *node) (w work) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if before, found := g.names[n.key]; found && before != n.uid { // deleted and made again unseen
		w = g.drop(before)
	}
	old := g.nodes[n.uid]
	if old != nil {
		g.unlink(old)
		w.items = append(w.items, g.waiting(old)...)
	}
	if len(n.owners) > 0 || n.deleting && (n.foreground || n.orphaning) {
		g.nodes[n.uid] = n
		g.names[n.key] = n.uid
	} else if old != nil {
		delete(g.nodes, n.uid)
		delete(g.names, n.key)
	}
	g.share(n)
	for i := range n.owners {
		owner := n.owners[i].UID
		if g.dependents[owner] == nil {
			g.dependents[owner] = map[string]*node{}
		}
		g.dependents[owner][n.uid] = n
	}
	w.items = append(w.items, g.waiting(n)...)
	if old == nil || old.deleting != n.deleting || !slices.Equal(old.owners, n.owners) {
		w.items = append(w.items, n.uid)
	}
	if n.waits() && (old == nil || !old.waits()) {
		w.children = append(w.children, n.uid)
	}
	return w
}

// share has an object hold its owners' references together with another that has the same,
// as its last version or a sibling does.
func (g *graph) share(n *node) {
	if len(n.owners) == 0 {
		return
	}
	for _, sibling := range g.dependents[n.owners[0].UID] {
		if slices.Equal(sibling.owners, n.owners) {
			n.owners = sibling.owners
		}
		return // one speaks for all
	}
}

// remove takes the deletion of an object.
func (g *graph) remove(uid string) work {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.drop(uid)
}

func (g *graph) drop(uid string) (w work) {
	if n := g.nodes[uid]; n != nil {
		g.unlink(n)
		delete(g.nodes, uid)
		delete(g.names, n.key)
		w.items = g.waiting(n)
	}
	if len(g.dependents[uid]) > 0 {
		w.children = append(w.children, uid)
	}
	return w
}

func (g *graph) unlink(n *node) {
	for i := range n.owners {
		owner := n.owners[i].UID
		delete(g.dependents[owner], n.uid)
		if len(g.dependents[owner]) == 0 {
			delete(g.dependents, owner)
		}
	}
}

// waiting are the owners of n that wait for their dependents.
func (g *graph) waiting(n *node) (uids []string) {
	for i := range n.owners {
		if owner := g.nodes[n.owners[i].UID]; owner != nil && owner.waits() {
			uids = append(uids, owner.uid)
		}
	}
	return uids
}

func (g *graph) get(uid string) *node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes[uid]
}

// children are the dependents of an object.
func (g *graph) children(uid string) []*node {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]*node, 0, len(g.dependents[uid]))
	for _, n := range g.dependents[uid] {
		all = append(all, n)
	}
	return all
}

// of lists the kept objects of a collection.
func (g *graph) of(gr proto.GroupResource) []*node {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*node
	for _, n := range g.nodes {
		if n.key.GroupResource == gr {
			all = append(all, n)
		}
	}
	return all
}

func (g *graph) all() (uids []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for uid := range g.nodes {
		uids = append(uids, uid)
	}
	return uids
}
