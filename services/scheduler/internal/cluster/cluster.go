// Package cluster is the scheduler's picture of the cluster: nodes with what is
// taken on them, and the pods, bound, assumed and pending. Worker, planner and
// broker each keep one, fed from the state log.
//
// Start with Mirror and its Apply. A Mirror promises: after Apply of all changes
// up to a revision it shows exactly the cluster at that revision, plus what was
// assumed and not yet confirmed or forgotten. It is not safe for concurrent use;
// its owner has a lock.
package cluster

import (
	"unique"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
	"kubus.dev/services/scheduler/internal/topology"
)

// Mirror is the picture. Nodes are named by their index, which stays the same as
// long as the node or a pod on it exists.
type Mirror struct {
	nodes   []node.Node
	free    []int32 // indices not in use
	byName  map[string]int32
	classes *node.Classes
	present int

	pods   map[string]*record // by UID
	groups map[string]*group  // by owner UID

	residents [][]*record         // by node: the pods that take room
	nominees  map[int32][]*record // by node: pods for which room is made there
	index     *topology.Index     // what pods have to do with each other
	budgets   map[string]*feed.Budget
	spaces    map[string]bool
	drivers   map[string]map[string]int32     // CSI drivers by node name
	gangs     map[string]map[string]*record   // by namespace/name and UID
	doomed    map[string]*record              // pods that are about to be deleted to make room
	sole      map[string]int                  // claims for one pod, by those who have them
	images    map[unique.Handle[string]]int32 // on how many nodes

	log  []int32 // indices of changed nodes, in order
	base uint64  // position of log[0]

	PodRevision    uint64
	NodeRevision   uint64
	VolumeRevision uint64
	SpaceRevision  uint64
	podSeen        uint64
	nodeSeen       uint64
	volumeSeen     uint64
	spaceSeen      uint64
}

// record is what is kept of a pod.
type record struct {
	pod     *shape.Pod
	node    int32 // where it takes room; none when nowhere
	assumed bool  // the log does not say so yet
	held    bool  // its claims are being bound there
	gang    string
	bed     int // which of the node's residents it is

	nominated int32 // node where room is made for it; none when nowhere
	wish      bool  // the log does not say so yet
	doomed    bool  // it is about to be deleted to make room
}

const none int32 = -1

// group counts where the pods of one owner run.
type group struct {
	pods   int32
	byNode map[int32]int32
}

// New gives an empty mirror.
func New() *Mirror {
	return &Mirror{
		byName: map[string]int32{}, classes: node.NewClasses(), pods: map[string]*record{}, groups: map[string]*group{},
		nominees: map[int32][]*record{}, index: topology.New(), budgets: map[string]*feed.Budget{}, spaces: map[string]bool{}, drivers: map[string]map[string]int32{}, gangs: map[string]map[string]*record{}, sole: map[string]int{}, doomed: map[string]*record{}, images: map[unique.Handle[string]]int32{},
	}
}

// Node gives a node by index. The pointer is good until the next Apply.
func (m *Mirror) Node(i int32) *node.Node { return &m.nodes[i] }

// At is how far the mirror has read the log.
func (m *Mirror) At() plan.Revision {
	return plan.Revision{Pods: m.PodRevision, Nodes: m.NodeRevision, Volumes: m.VolumeRevision, Spaces: m.SpaceRevision}
}

// Seen is the newest change of each resource that the mirror shows: what to ask of
// another mirror, which gets there by reading the same changes. At is no such
// thing; a mirror without a change to read stays where it is.
func (m *Mirror) Seen() plan.Revision {
	return plan.Revision{Pods: m.podSeen, Nodes: m.nodeSeen, Volumes: m.volumeSeen, Spaces: m.spaceSeen}
}

// Index finds a node by name.
func (m *Mirror) Index(name string) (int32, bool) {
	i, ok := m.byName[name]
	return i, ok
}

// Slots is one more than the highest index in use.
func (m *Mirror) Slots() int { return len(m.nodes) }

// Len is the number of nodes that exist.
func (m *Mirror) Len() int { return m.present }

// ImageSpread is the part of the nodes that have an image.
func (m *Mirror) ImageSpread(image unique.Handle[string]) float64 {
	return float64(m.images[image]) / float64(max(m.present, 1))
}

// Pod gives a pod by UID, as last seen in the log, or nil.
func (m *Mirror) Pod(uid string) *shape.Pod {
	if r := m.pods[uid]; r != nil {
		return r.pod
	}
	return nil
}

// Placed tells where a pod takes room, in the log or by assumption.
func (m *Mirror) Placed(uid string) (node int32, ok bool) {
	r := m.pods[uid]
	if r == nil || r.node == none {
		return none, false
	}
	return r.node, true
}

// Pods calls fn with every pod until it returns false.
func (m *Mirror) Pods(fn func(*shape.Pod) bool) {
	for _, r := range m.pods {
		if !fn(r.pod) {
			return
		}
	}
}

// OwnerPods is how many pods of an owner take room and are not being deleted, and OnNode how many on one node.
func (m *Mirror) OwnerPods(owner string) int32 {
	if g := m.groups[owner]; g != nil {
		return g.pods
	}
	return 0
}

// OwnerNodes calls fn with each node that has pods of an owner, and how many.
func (m *Mirror) OwnerNodes(owner string, fn func(node, pods int32)) {
	if g := m.groups[owner]; g != nil {
		for i, n := range g.byNode {
			fn(i, n)
		}
	}
}

// OnNode is how many pods of an owner take room on a node.
func (m *Mirror) OnNode(owner string, i int32) int32 {
	if g := m.groups[owner]; g != nil {
		return g.byNode[i]
	}
	return 0
}

// Apply takes over a batch of the log.
func (m *Mirror) Apply(b feed.Batch) {
	if b.Reset {
		m.reset(b)
	}
	for _, c := range b.Changes {
		m.ApplyOne(c)
	}
	m.PodRevision, m.NodeRevision = max(m.PodRevision, b.PodRevision), max(m.NodeRevision, b.NodeRevision)
	m.VolumeRevision, m.volumeSeen = max(m.VolumeRevision, b.VolumeRevision), max(m.volumeSeen, b.VolumeSeen)
	m.SpaceRevision = max(m.SpaceRevision, b.SpaceRevision)
	if m.classes.Len() > 2*len(m.nodes)+16 {
		m.sweep()
	}
}

// ApplyOne takes over one change, for owners that look between the changes of a
// batch. They finish with Apply of the batch without its changes.
func (m *Mirror) ApplyOne(c feed.Change) {
	switch {
	case c.Pod != nil:
		m.podSeen = max(m.podSeen, c.Revision)
		m.index.Now = plan.Revision{Pods: c.Revision}
		if c.Gone {
			m.dropPod(c.Pod.UID)
		} else {
			m.setPod(c.Pod)
		}
	case c.Node != nil:
		m.nodeSeen = max(m.nodeSeen, c.Revision)
		m.index.Now = plan.Revision{Nodes: c.Revision}
		if c.Gone {
			m.dropNode(c.Node.Name)
		} else {
			m.setNode(c.Node, c.Self, c.Images)
		}
	default:
		m.spaceSeen = max(m.spaceSeen, c.Revision)
		m.index.Now = plan.Revision{Spaces: c.Revision}
		m.setRule(c)
	}
}

// setRule takes over a namespace, a disruption budget, or the drivers of a node.
func (m *Mirror) setRule(c feed.Change) {
	switch {
	case c.Drivers != nil:
		m.setDrivers(c.Drivers, c.Gone)
	case c.Budget != nil && c.Gone:
		delete(m.budgets, c.Budget.Key())
	case c.Budget != nil:
		m.budgets[c.Budget.Key()] = c.Budget
	case c.Space != nil && c.Gone:
		delete(m.spaces, c.Space.Name)
		m.index.SetSpace(c.Space.Name, nil)
	case c.Space != nil:
		m.spaces[c.Space.Name] = true
		m.index.SetSpace(c.Space.Name, c.Space.Labels)
	}
}

// reset drops what the batch does not hold.
func (m *Mirror) reset(b feed.Batch) {
	pods, nodes, spaces := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, c := range b.Changes {
		switch {
		case c.Pod != nil:
			pods[c.Pod.UID] = true
		case c.Node != nil:
			nodes[c.Node.Name] = true
		case c.Space != nil:
			spaces[c.Space.Name] = true
		}
	}
	clear(m.budgets)
	for name := range m.drivers {
		m.setDrivers(&feed.Drivers{Node: name}, true)
	}
	for name := range m.spaces {
		if !spaces[name] {
			delete(m.spaces, name)
			m.index.SetSpace(name, nil)
		}
	}
	for uid := range m.pods {
		if !pods[uid] {
			m.dropPod(uid)
		}
	}
	for name := range m.byName {
		if !nodes[name] {
			m.dropNode(name)
		}
	}
}

func (m *Mirror) sweep() {
	used := map[*node.Class]bool{}
	for i := range m.nodes {
		used[m.nodes[i].Class] = true
	}
	m.classes.Sweep(func(c *node.Class) bool { return used[c] })
}
