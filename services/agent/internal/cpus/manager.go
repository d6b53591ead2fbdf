// Package cpus gives containers CPUs of their own: kubelet's static CPU manager policy. Containers of guaranteed pods that
// ask for whole CPUs have them alone; all others share what is left.
//
// Start with Manager. take is the choice itself and pure.
//
// Promises: no CPU is with two containers at once, also not after a restart; the reserved ones are nobody's own. What is
// assigned is on the disk before Allocate returns. Assignments of pods that have ended are free for the next Allocate, and
// shared again with the next Reconcile.
package cpus

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/cpuset"

	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/kit/file"
)

// Options say what there is to be given.
type Options struct {
	Topology Topology
	Reserved cpuset.CPUSet // never a container's own
	File     string        // what is assigned
	// Pods gives those that have not ended. It is asked while the manager is locked, and must not ask it.
	Pods func() []*corev1.Pod
}

// Manager knows whose every CPU is. Its methods may be called from many goroutines.
type Manager struct {
	Options

	mu       sync.Mutex
	assigned map[types.UID]map[string]cpuset.CPUSet // by container
}

// kept is the file.
type kept struct {
	CPUs     string                          `json:"cpus"` // of the machine
	Assigned map[types.UID]map[string]string `json:"assigned"`
}

// Reserve chooses n CPUs for the system where nobody said which.
func Reserve(t Topology, n int) (cpuset.CPUSet, error) { return take(t, t.Set(), n) }

// Open reads what was assigned before. A file that does not fit the machine is an error: containers run on CPUs that it
// names.
func Open(o Options) (*Manager, error) {
	m := &Manager{Options: o, assigned: map[types.UID]map[string]cpuset.CPUSet{}}
	if !o.Reserved.IsSubsetOf(o.Topology.Set()) {
		return nil, fmt.Errorf("CPUs %s are reserved, and the machine has %s", o.Reserved, o.Topology.Set())
	}
	data, err := os.ReadFile(o.File)
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err == nil && k.CPUs != o.Topology.Set().String() && len(k.Assigned) > 0 {
		err = fmt.Errorf("the machine had CPUs %s and has %s: drain the node and remove the file %s", k.CPUs, o.Topology.Set(), o.File)
	}
	for uid, pod := range k.Assigned {
		m.assigned[uid] = map[string]cpuset.CPUSet{}
		for name, text := range pod {
			set, parse := cpuset.Parse(text)
			err = errors.Join(err, parse)
			m.assigned[uid][name] = set
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading which CPUs containers have: %w", err)
	}
	return m, nil
}

// Whole is how many CPUs of its own a container is to have; 0: it shares.
func Whole(pod *corev1.Pod, c *corev1.Container) int {
	if launch.QOS(pod) != corev1.PodQOSGuaranteed {
		return 0
	}
	q := c.Resources.Requests[corev1.ResourceCPU]
	if q.Value()*1000 != q.MilliValue() {
		return 0
	}
	return int(q.Value())
}

// Wants tells whether a container of the pod is to have CPUs of its own.
func (m *Manager) Wants(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		if slices.ContainsFunc(list, func(c corev1.Container) bool { return Whole(pod, &c) > 0 }) {
			return true
		}
	}
	return false
}

// Allocate assigns a pod's containers their CPUs: all or none. It may be asked again. The error has kubelet's words.
func (m *Manager) Allocate(pod *corev1.Pod) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(pod.UID)
	before := maps.Clone(m.assigned[pod.UID])
	err := m.assign(pod)
	if err == nil {
		err = m.save()
	}
	if err == nil {
		return nil
	}
	delete(m.assigned, pod.UID)
	if before != nil {
		m.assigned[pod.UID] = before
	}
	return err
}

// assign follows the order in which containers start: what an init container has, those after it may have too, but for
// sidecars.
func (m *Manager) assign(pod *corev1.Pod) error {
	mine := maps.Clone(m.assigned[pod.UID])
	if mine == nil {
		mine = map[string]cpuset.CPUSet{}
	}
	reuse := cpuset.New()
	free := m.shared().Difference(m.Reserved)
	one := func(c *corev1.Container, passes bool) error {
		n := Whole(pod, c)
		if n == 0 {
			return nil
		}
		set, ok := mine[c.Name]
		if !ok {
			first := cpuset.New(reuse.List()[:min(n, reuse.Size())]...)
			rest, err := take(m.Topology, free, n-first.Size())
			if err != nil {
				return err
			}
			set, free = first.Union(rest), free.Difference(rest)
			mine[c.Name] = set
		}
		if passes {
			reuse = reuse.Union(set)
		} else {
			reuse = reuse.Difference(set)
		}
		return nil
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if err := one(c, c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways); err != nil {
			return err
		}
	}
	for i := range pod.Spec.Containers {
		if err := one(&pod.Spec.Containers[i], false); err != nil {
			return err
		}
	}
	m.assigned[pod.UID] = mine
	return nil
}

// CPUs are those that a container may run on, in the kernel's notation.
func (m *Manager) CPUs(uid types.UID, container string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if set, ok := m.assigned[uid][container]; ok {
		return set.String()
	}
	return m.shared().String()
}

// Reconcile frees what pods had that have ended.
func (m *Manager) Reconcile() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.forget("") {
		return nil
	}
	return m.save()
}

// forget drops pods that have ended, but for one that begins. The lock is held: a pod that is assigned CPUs meanwhile
// would be none of those that were known before.
func (m *Manager) forget(but types.UID) (changed bool) {
	alive := map[types.UID]bool{but: true}
	for _, pod := range m.Pods() {
		alive[pod.UID] = true
	}
	maps.DeleteFunc(m.assigned, func(uid types.UID, _ map[string]cpuset.CPUSet) bool {
		changed = changed || !alive[uid]
		return !alive[uid]
	})
	return changed
}

// shared is what is nobody's own, with the reserved ones; the lock is held.
func (m *Manager) shared() cpuset.CPUSet {
	set := m.Topology.Set()
	for _, pod := range m.assigned {
		for _, own := range pod {
			set = set.Difference(own)
		}
	}
	return set
}

func (m *Manager) save() error {
	k := kept{CPUs: m.Topology.Set().String(), Assigned: map[types.UID]map[string]string{}}
	for uid, pod := range m.assigned {
		k.Assigned[uid] = map[string]string{}
		for name, set := range pod {
			k.Assigned[uid][name] = set.String()
		}
	}
	data, err := json.Marshal(k)
	if err == nil {
		err = file.Replace(m.File, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping which CPUs containers have: %w", err)
	}
	return nil
}
