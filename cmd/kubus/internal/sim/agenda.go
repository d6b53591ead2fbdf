package sim

import (
	"container/heap"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// appointment is a deed that is to be done with a pod.
type appointment struct {
	pod   *corev1.Pod
	deed  deed
	when  time.Time
	index int
}

// agenda is appointments by time, at most one a pod.
type agenda struct {
	list []*appointment
	at   map[types.UID]*appointment
}

func (a *agenda) set(pod *corev1.Pod, d deed, when time.Time) {
	if have := a.at[pod.UID]; have != nil {
		have.pod, have.deed, have.when = pod, d, when
		heap.Fix(a, have.index)
		return
	}
	next := &appointment{pod: pod, deed: d, when: when}
	a.at[pod.UID] = next
	heap.Push(a, next)
}

func (a *agenda) cancel(uid types.UID) {
	if have := a.at[uid]; have != nil {
		heap.Remove(a, have.index)
		delete(a.at, uid)
	}
}

// Len, Less, Swap, Push and Pop are for container/heap.
func (a *agenda) Len() int { return len(a.list) }

// Less puts what is due sooner first.
func (a *agenda) Less(i, j int) bool { return a.list[i].when.Before(a.list[j].when) }

// Swap exchanges two.
func (a *agenda) Swap(i, j int) {
	a.list[i], a.list[j] = a.list[j], a.list[i]
	a.list[i].index, a.list[j].index = i, j
}

// Push adds one at the end.
func (a *agenda) Push(x any) {
	one, _ := x.(*appointment)
	one.index = len(a.list)
	a.list = append(a.list, one)
}

// Pop removes the one at the end.
func (a *agenda) Pop() any {
	last := a.list[len(a.list)-1]
	a.list = a.list[:len(a.list)-1]
	return last
}
