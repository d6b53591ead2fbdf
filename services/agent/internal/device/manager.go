package device

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// goneAfter is how long a resource is remembered without a plugin. Source: pkg/kubelet/cm/devicemanager.
const goneAfter = 5 * time.Minute

// Options say where the manager keeps its things.
type Options struct {
	Dir  string // of the plugins' sockets and of ours, kubelet.sock
	File string // what is allocated
	// PodDir is that of the socket at which monitors ask who has what, kubelet.sock too; "": nobody may.
	PodDir  string
	Changed func()               // Capacity may be another
	Pods    func() []*corev1.Pod // that have not ended; devices of others are free
	Log     *zap.Logger
}

// Manager knows the node's plugins, their devices and who has them.
type Manager struct {
	Options
	now  func() time.Time
	turn chan struct{} // of the one allocation under way

	mu        sync.Mutex
	resources map[string]*resourceState
	pods      map[types.UID]containers
}

// resourceState is what plugins say of a resource.
type resourceState struct {
	plugins []*plugin // connected, the one to ask last
	since   time.Time // when the last one left
	dropped bool      // it has been away for too long: the node has none
	devices map[string]*pluginapi.Device
}

func (r *resourceState) plugin() *plugin {
	if len(r.plugins) == 0 {
		return nil
	}
	return r.plugins[len(r.plugins)-1]
}

// healthy are the devices that can be given away: none without a plugin.
func (r *resourceState) healthy() set {
	out := set{}
	for id, d := range r.devices {
		if len(r.plugins) > 0 && d.Health == pluginapi.Healthy {
			out[id] = true
		}
	}
	return out
}

// containers are what a pod's containers have, by their names and the resources'.
type containers map[string]map[string]*Allocation

// Open reads what was allocated before. A file that cannot be read is an error: its pods' devices must not go to others.
func Open(o Options) (*Manager, error) {
	m := &Manager{Options: o, now: time.Now, turn: make(chan struct{}, 1), resources: map[string]*resourceState{}, pods: map[types.UID]containers{}}
	return m, m.load()
}

// Capacity is what the node has of the plugins' resources, and how much of it is healthy. A resource whose plugin is
// gone for good has none.
func (m *Manager) Capacity() (capacity, allocatable corev1.ResourceList) {
	m.mu.Lock()
	defer m.mu.Unlock()
	capacity, allocatable = corev1.ResourceList{}, corev1.ResourceList{}
	for name, r := range m.resources {
		all := len(r.devices)
		if r.dropped {
			all = 0
		}
		capacity[corev1.ResourceName(name)] = *resource.NewQuantity(int64(all), resource.DecimalSI)
		allocatable[corev1.ResourceName(name)] = *resource.NewQuantity(int64(len(r.healthy())), resource.DecimalSI)
	}
	return capacity, allocatable
}

// Manages tells whether plugins have, or had, a resource.
func (m *Manager) Manages(name corev1.ResourceName) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.manages(string(name))
}

func (m *Manager) manages(name string) bool {
	if m.resources[name] != nil {
		return true
	}
	for _, pod := range m.pods {
		for _, c := range pod {
			if c[name] != nil {
				return true
			}
		}
	}
	return false
}

// Wants tells whether a pod asks for devices of plugins.
func (m *Manager) Wants(pod *corev1.Pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(containersOf(pod), func(c *corev1.Container) bool { return len(m.asked(c)) > 0 })
}

// asked lists the plugins' resources that a container has limits of, sorted. The lock is held.
func (m *Manager) asked(c *corev1.Container) []string {
	var names []string
	for name, q := range c.Resources.Limits {
		if !q.IsZero() && m.manages(string(name)) {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

func containersOf(pod *corev1.Pod) []*corev1.Container {
	var out []*corev1.Container
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			out = append(out, &list[i])
		}
	}
	return out
}

// Error says why a pod cannot have the devices that it asks for, in kubelet's words.
type Error struct{ Err error }

func (e *Error) Error() string {
	return fmt.Sprintf("Allocate failed due to %v, which is unexpected", e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Reason is that of a pod's status after an Error.
const Reason = "UnexpectedAdmissionError"

// Allocate gives the containers of a pod the devices that they ask for and do not have yet: all or none. The error is an
// *Error, or the context's.
func (m *Manager) Allocate(ctx context.Context, pod *corev1.Pod) error {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	m.forget(pod.UID)
	given := containers{}
	err := m.allocate(ctx, pod, given)
	if err == nil && len(given) > 0 {
		err = m.save()
	}
	if err == nil {
		return nil
	}
	m.take(pod.UID, given)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &Error{err}
}

// forget frees the devices of pods that have ended, but for one that begins.
func (m *Manager) forget(but types.UID) {
	active := map[types.UID]bool{}
	for _, pod := range m.Pods() {
		active[pod.UID] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.pods, func(uid types.UID, _ containers) bool { return uid != but && !active[uid] })
}

// take undoes what an allocation has given.
func (m *Manager) take(uid types.UID, given containers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, resources := range given {
		for r := range resources {
			delete(m.pods[uid][name], r)
		}
	}
}

// allocate notes in given what it adds. What an init container has, those after it may have too: it will have ended. What
// a sidecar has stays its own.
func (m *Manager) allocate(ctx context.Context, pod *corev1.Pod, given containers) error {
	reuse := map[string]set{}
	for at, c := range containersOf(pod) {
		m.mu.Lock()
		names := m.asked(c)
		m.mu.Unlock()
		init := at < len(pod.Spec.InitContainers)
		for _, name := range names {
			if reuse[name] == nil {
				reuse[name] = set{}
			}
			a, fresh, err := m.give(ctx, pod, c, name, reuse[name])
			if err != nil {
				return err
			}
			if fresh {
				if given[c.Name] == nil {
					given[c.Name] = map[string]*Allocation{}
				}
				given[c.Name][name] = a
			}
			for _, id := range a.Devices {
				if init && !restartable(c) {
					reuse[name][id] = true
				} else {
					delete(reuse[name], id)
				}
			}
		}
	}
	return nil
}

func restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// give is one container's share of one resource; fresh tells that it had none.
func (m *Manager) give(ctx context.Context, pod *corev1.Pod, c *corev1.Container, name string, reuse set) (a *Allocation, fresh bool, err error) {
	limit := c.Resources.Limits[corev1.ResourceName(name)]
	need := int(limit.Value())
	m.mu.Lock()
	if a = m.pods[pod.UID][c.Name][name]; a != nil {
		m.mu.Unlock()
		if len(a.Devices) != need {
			return nil, false, fmt.Errorf("pod %q container %q changed request for resource %q from %d to %d", pod.UID, c.Name, name, len(a.Devices), need)
		}
		return a, false, nil
	}
	r := m.resources[name]
	if r == nil {
		m.mu.Unlock()
		return nil, false, fmt.Errorf("cannot allocate unregistered device %s", name)
	}
	w := wish{resource: name, need: need, healthy: r.healthy(), used: m.used(name), reuse: maps.Clone(reuse)}
	maps.DeleteFunc(w.reuse, func(id string, _ bool) bool { return !w.healthy[id] })
	p := r.plugin()
	m.mu.Unlock()
	if p != nil && p.options.GetPreferredAllocationAvailable {
		w.prefer = func(available, must []string, size int) ([]string, error) {
			return p.preferred(ctx, available, must, size)
		}
	}
	ids, err := pick(w)
	if err != nil {
		return nil, false, err
	}
	response, err := p.allocate(ctx, ids)
	if err != nil {
		return nil, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	a = &Allocation{Devices: ids, Nodes: map[string][]int64{}, Response: response}
	for _, id := range ids {
		if d := r.devices[id]; d != nil {
			for _, n := range d.GetTopology().GetNodes() {
				a.Nodes[id] = append(a.Nodes[id], n.ID)
			}
		}
	}
	if m.pods[pod.UID] == nil {
		m.pods[pod.UID] = containers{}
	}
	if m.pods[pod.UID][c.Name] == nil {
		m.pods[pod.UID][c.Name] = map[string]*Allocation{}
	}
	m.pods[pod.UID][c.Name][name] = a
	return a, true, nil
}

// used are the devices of a resource that some container has. The lock is held.
func (m *Manager) used(name string) set {
	out := set{}
	for _, pod := range m.pods {
		for _, c := range pod {
			if a := c[name]; a != nil {
				maps.Copy(out, setOf(a.Devices))
			}
		}
	}
	return out
}

// Prepare tells plugins that a container is about to start, where they want to know, and says what it is to be given
// for all its devices; nil for none. A container that ought to have some and has none gets them now.
func (m *Manager) Prepare(ctx context.Context, pod *corev1.Pod, c *corev1.Container) (*Given, error) {
	m.mu.Lock()
	names := m.asked(c)
	lacks := slices.ContainsFunc(names, func(n string) bool { return m.pods[pod.UID][c.Name][n] == nil })
	m.mu.Unlock()
	if len(names) == 0 {
		return nil, nil
	}
	if lacks {
		if err := m.Allocate(ctx, pod); err != nil {
			return nil, err
		}
	}
	var all []*Allocation
	for _, name := range names {
		m.mu.Lock()
		a := m.pods[pod.UID][c.Name][name]
		var p *plugin
		if r := m.resources[name]; r != nil {
			p = r.plugin()
		}
		m.mu.Unlock()
		if a == nil {
			return nil, fmt.Errorf("no devices found allocated in local cache for pod %s, container %s, resource %s", pod.UID, c.Name, name)
		}
		if p != nil && p.options.PreStartRequired {
			if err := p.preStart(ctx, a.Devices); err != nil {
				return nil, fmt.Errorf("device plugin PreStartContainer rpc failed with err: %w", err)
			}
		}
		all = append(all, a)
	}
	return combine(all, m.Log), nil
}

// connected takes a plugin that has registered.
func (m *Manager) connected(p *plugin) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.resources[p.resource]
	if r == nil {
		r = &resourceState{}
		m.resources[p.resource] = r
	}
	if slices.ContainsFunc(r.plugins, func(o *plugin) bool { return o.socket == p.socket }) {
		return fmt.Errorf("device plugin already connected: %s", p.socket)
	}
	r.plugins, r.dropped = append(r.plugins, p), false
	return nil
}

// list takes what a plugin says of all its devices.
func (m *Manager) list(p *plugin, devices []*pluginapi.Device) {
	m.mu.Lock()
	r := m.resources[p.resource]
	r.devices = make(map[string]*pluginapi.Device, len(devices))
	for _, d := range devices {
		r.devices[d.ID] = d
	}
	m.mu.Unlock()
	if err := m.save(); err != nil {
		m.Log.Error("resources of device plugins not kept on disk", zap.Error(err))
	}
	m.Changed()
}

// left notes that a plugin is gone; after a while so are its devices.
func (m *Manager) left(p *plugin) {
	m.mu.Lock()
	r := m.resources[p.resource]
	r.plugins = slices.DeleteFunc(r.plugins, func(o *plugin) bool { return o == p })
	last := len(r.plugins) == 0
	r.since = m.now()
	m.mu.Unlock()
	if last {
		m.Changed()
	}
}

// expire drops what has been without a plugin for too long, and says when to look again; zero: when another leaves.
func (m *Manager) expire() (next time.Time) {
	m.mu.Lock()
	changed := false
	for _, r := range m.resources {
		if len(r.plugins) > 0 || r.dropped {
			continue
		}
		if end := r.since.Add(goneAfter); m.now().Before(end) {
			if next.IsZero() || end.Before(next) {
				next = end
			}
			continue
		}
		r.dropped, changed = true, true
	}
	m.mu.Unlock()
	if changed {
		m.Changed()
	}
	return next
}

// kubeletDir holds the folders that plugins and monitors look for.
const kubeletDir = "/var/lib/kubelet"

// Clear removes what an agent leaves in a folder of sockets: its own, and the folder when it is empty. A folder that is
// not there, or another's, is no error.
func Clear(dir string) error {
	lock, err := lockDir(dir)
	if err != nil {
		return nil
	}
	defer lock.Close()
	if err := os.Remove(socketIn(dir)); err != nil && !os.IsNotExist(err) {
		return err
	}
	if os.Remove(dir) == nil && filepath.Dir(dir) == kubeletDir { // others' files may be in either
		_ = os.Remove(kubeletDir)
	}
	return nil
}
