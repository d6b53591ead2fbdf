package broker

import (
	"container/heap"

	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/shape"
)

// queue is the groups that are ready: by priority, then by arrival.
type queue struct {
	groups []*group
	byKind map[*shape.Shape][]*group // may hold some that are no longer ready
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (q *queue) Len() int { return len(q.groups) }

// Less puts the group whose turn is sooner first.
func (q *queue) Less(i, j int) bool {
	a, b := q.groups[i], q.groups[j]
	if a.shape.Priority != b.shape.Priority {
		return a.shape.Priority > b.shape.Priority
	}
	return a.arrival < b.arrival
}

// Swap exchanges two groups.
func (q *queue) Swap(i, j int) {
	q.groups[i], q.groups[j] = q.groups[j], q.groups[i]
	q.groups[i].index, q.groups[j].index = i, j
}

// Push adds a group at the end.
func (q *queue) Push(x any) {
	g, ok := x.(*group)
	if !ok {
		return
	}
	g.index = len(q.groups)
	q.groups = append(q.groups, g)
	if q.byKind == nil {
		q.byKind = map[*shape.Shape][]*group{}
	}
	q.byKind[g.shape.Kind()] = append(q.byKind[g.shape.Kind()], g)
}

// Pop removes the group at the end.
func (q *queue) Pop() any {
	n := len(q.groups) - 1
	g := q.groups[n]
	q.groups[n] = nil
	q.groups = q.groups[:n]
	g.index = -1
	return g
}

// pop removes the group whose turn it is. The queue must not be empty.
func (q *queue) pop() *group {
	g := q.groups[0]
	heap.Remove(q, 0)
	if q.Len() == 0 {
		q.byKind = nil
	}
	return g
}

// popLike removes a ready group that is of g's kind and stands alone, or nil.
func (q *queue) popLike(g *group, m *cluster.Mirror) *group {
	list := q.byKind[g.shape.Kind()]
	for len(list) > 0 {
		other := list[0]
		list = list[1:]
		if other.index >= 0 && other.alone(m) {
			q.byKind[g.shape.Kind()] = list
			heap.Remove(q, other.index)
			return other
		}
	}
	delete(q.byKind, g.shape.Kind())
	return nil
}
