package nodelease

import (
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/statelog"
)

// Objects are the live Nodes and Namespaces; *statelog.View is some.
type Objects interface {
	Get(gr proto.GroupResource, ns, name string) *statelog.Entry
}

var (
	nodes      = proto.GroupResource{Resource: "nodes"}
	namespaces = proto.GroupResource{Resource: "namespaces"}
)

// Leases knows when each node was heard last. Safe for concurrent use.
type Leases struct {
	objects Objects

	mu      sync.Mutex
	beats   map[string]*beat
	sweepAt int // how many beats make a sweep worth it
}

// beat is a node's last heartbeat, and the Lease as it was last shown for it.
type beat struct {
	at    time.Time
	lease *statelog.Entry // nil: nobody looked since the heartbeat
	node  *statelog.Entry // what lease was made of
}

// New knows no heartbeat yet.
func New(objects Objects) *Leases {
	return &Leases{objects: objects, beats: map[string]*beat{}, sweepAt: leastSweep}
}

// Listen hears the heartbeats of all nodes until the subscription is stopped.
func (l *Leases) Listen(conn *bus.Conn) (*bus.Subscription, error) {
	return conn.Subscribe(proto.HeartbeatSubjects, "", func(m *bus.Msg) {
		if node, err := proto.HeartbeatNode(m.Subject); err == nil {
			l.Beat(node, time.Now())
		}
	})
}

// Beat notes a heartbeat.
func (l *Leases) Beat(node string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.beats[node]; b != nil {
		*b = beat{at: at}
		return
	}
	if len(l.beats) >= l.sweepAt {
		l.sweep(at)
	}
	l.beats[node] = &beat{at: at}
}

const (
	leastSweep = 256
	// sweepAge spares nodes that beat before they are registered.
	sweepAge = time.Hour
)

// sweep forgets silent nodes that are no more.
func (l *Leases) sweep(now time.Time) {
	for node, b := range l.beats {
		if now.Sub(b.at) > sweepAge && l.objects.Get(nodes, "", node) == nil {
			delete(l.beats, node)
		}
	}
	l.sweepAt = max(leastSweep, 2*len(l.beats))
}

// Get gives a node's Lease under the resourceVersion revision, nil where none is shown.
func (l *Leases) Get(ns, name string, revision uint64) *statelog.Entry {
	if ns != corev1.NamespaceNodeLease || l.objects.Get(namespaces, "", ns) == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.show(name, revision)
}

// List gives what Get gives, for all names of a namespace (of all namespaces, when
// ns is empty), in the order of names.
func (l *Leases) List(ns string, revision uint64) []*statelog.Entry {
	if ns != "" && ns != corev1.NamespaceNodeLease || l.objects.Get(namespaces, "", corev1.NamespaceNodeLease) == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*statelog.Entry
	for node := range l.beats {
		if e := l.show(node, revision); e != nil {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *statelog.Entry) int { return strings.Compare(a.Key().Name, b.Key().Name) })
	return out
}

// show gives the same entry until a heartbeat or a write changes what it says, so
// that what readers derive of it is derived once.
func (l *Leases) show(name string, revision uint64) *statelog.Entry {
	b := l.beats[name]
	if b == nil {
		return nil
	}
	node := l.objects.Get(nodes, "", name)
	if node == nil {
		return nil
	}
	if b.lease == nil || b.node != node || b.lease.Revision() != revision {
		b.lease, b.node = entry(node, b.at, revision), node
	}
	return b.lease
}

// Forget is what the deletion of a shown Lease does: as with a kubelet, it is there
// again when the node is heard next.
func (l *Leases) Forget(ns, name string) {
	if ns != corev1.NamespaceNodeLease {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.beats, name)
}
