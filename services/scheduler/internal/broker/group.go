package broker

import (
	"container/heap"
	"slices"
	"time"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
)

// group is the waiting pods of one owner and shape. Of its pods some are queued
// (to be looked at), some taken (in a worker's hands), some parked (fit nowhere):
//
//	 join            Take           placed: the log says so, the pod leaves
//	──────▶ queued ────────▶ taken ──────────────────────────────────────▶
//	          ▲  ▲  to retry   │ fits nowhere
//	          │  └─────────────┤
//	          │      wake      ▼
//	          └──────────── parked
//
// The group is ready while it has queued pods, nothing is taken, and it is not put off.
type group struct {
	key
	spreads bool // its pods are spread by default
	queued  list
	taken   list
	parked  list
	tried   plan.Revision // what the worker had seen when it found no room for the parked
	arrival uint64        // when the group last became ready, to be fair
	index   int           // in the ready queue, -1 outside
	out     bool          // an evaluation with pods of the group is in a worker's hands
	retries int           // in a row, for the back-off
	putOff  *time.Timer   // runs while the group is put off
}

// waiting is one pending pod.
type waiting struct {
	uid   string
	pod   *shape.Pod // as it was when it joined; its identity and shape are still those
	group *group
	list  *list // which of the group's lists it is in
	woken bool
	told  string // the last reason reported
	left  bool   // is to be skipped wherever it still stands
}

// list is pods in order. Those that left stay until they are met.
type list struct {
	pods []*waiting
	live int
}

func (l *list) add(w *waiting) {
	l.pods = append(l.pods, w)
	l.live++
	w.list = l
}

// take removes the first n live pods.
func (l *list) take(n int) []*waiting {
	n = min(n, l.live)
	out := make([]*waiting, 0, n)
	i := 0
	for ; len(out) < n; i++ {
		if w := l.pods[i]; !w.left {
			out = append(out, w)
		}
		l.pods[i] = nil
	}
	l.pods = l.pods[i:]
	l.live -= n
	if l.live == 0 {
		l.pods = nil
	}
	return out
}

// remove takes one live pod out.
func (l *list) remove(w *waiting) {
	if i := slices.Index(l.pods, w); i >= 0 {
		l.pods = slices.Delete(l.pods, i, i+1)
		l.live--
	}
}

// drop lets a pod of the list leave.
func (l *list) drop(w *waiting) {
	w.left = true
	l.live--
	if len(l.pods) > 2*l.live+64 {
		l.pods = slices.DeleteFunc(l.pods, func(w *waiting) bool { return w == nil || w.left })
	}
}

// join queues a pod.
func (b *Broker) join(p *shape.Pod) {
	k := keyOf(p)
	g := b.groups[k]
	if g == nil {
		g = &group{key: k, index: -1, spreads: p.Spreads}
		b.groups[k] = g
	}
	w := &waiting{uid: p.UID, pod: p, group: g}
	b.pods[p.UID] = w
	g.queued.add(w)
	b.makeReady(g)
}

// leave forgets a pod that waits no more.
func (b *Broker) leave(w *waiting) {
	g := w.group
	delete(b.pods, w.uid)
	w.list.drop(w)
	b.decided(w)
	if g.queued.live == 0 && g.index >= 0 {
		heap.Remove(&b.ready, g.index)
	}
	b.dropIfEmpty(g)
}

func (b *Broker) dropIfEmpty(g *group) {
	if g.out || g.queued.live+g.parked.live > 0 || b.groups[g.key] != g {
		return
	}
	delete(b.groups, g.key)
	if g.putOff != nil {
		g.putOff.Stop()
		g.putOff = nil
	}
}

// makeReady puts a group with queued pods in line, unless it is out or put off.
func (b *Broker) makeReady(g *group) {
	if g.queued.live == 0 || g.out || g.putOff != nil || g.index >= 0 {
		return
	}
	b.arrival++
	g.arrival = b.arrival
	heap.Push(&b.ready, g)
}

// take moves up to n queued pods into a worker's hands and gives their UIDs.
func (g *group) take(n int) []string {
	g.out = true
	pods := g.queued.take(n)
	uids := make([]string, len(pods))
	for i, w := range pods {
		g.taken.add(w)
		uids[i] = w.uid
	}
	return uids
}

// spread is the owner whose pods are spread, or "".
func (g *group) spread() string {
	if g.spreads {
		return g.owner
	}
	return ""
}

// alone tells whether the group is one pod for which spreading means nothing: it is not
// spread, or its owner has no other that runs.
func (g *group) alone(m *cluster.Mirror) bool {
	return g.queued.live+g.parked.live == 1 && (!g.spreads || g.owner == "" || m.OwnerPods(g.owner) == 0)
}
