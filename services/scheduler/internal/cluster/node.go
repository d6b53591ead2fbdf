package cluster

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/shape"
)

// slot finds or makes the index of a node name.
func (m *Mirror) slot(name string) int32 {
	if i, ok := m.byName[name]; ok {
		return i
	}
	var i int32
	if n := len(m.free); n > 0 {
		i, m.free = m.free[n-1], m.free[:n-1]
		m.nodes[i] = node.Node{Name: name}
	} else {
		i = int32(len(m.nodes))
		m.nodes = append(m.nodes, node.Node{Name: name})
		m.residents = append(m.residents, nil)
	}
	m.byName[name] = i
	return i
}

// release gives an index back when neither a node nor a pod needs it.
func (m *Mirror) release(i int32) {
	n := &m.nodes[i]
	if n.Present || n.Pods > 0 || n.Name == "" || len(m.nominees[i]) > 0 {
		return
	}
	delete(m.byName, n.Name)
	m.nodes[i] = node.Node{}
	m.residents[i] = nil
	m.free = append(m.free, i)
}

func (m *Mirror) setNode(obj, self *corev1.Node, images []shape.Image) {
	i := m.slot(obj.Name)
	n := &m.nodes[i]
	was := *n
	n.Set(obj, self, m.classes)
	if !was.Present {
		m.present++
	}
	m.setImages(n, images)
	n.Drivers = m.drivers[obj.Name]
	if !was.Present || was.Class != n.Class || was.Self.Labels[corev1.LabelHostname] != n.Self.Labels[corev1.LabelHostname] {
		m.index.SetNode(i, n)
	}
	if !was.Present || was.Class != n.Class || !same(&was, n) {
		m.touch(i)
	}
}

// setDrivers takes over which CSI drivers are on a node, known or not.
func (m *Mirror) setDrivers(d *feed.Drivers, gone bool) {
	if gone {
		delete(m.drivers, d.Node)
	} else {
		m.drivers[d.Node] = d.Limit
	}
	if i, ok := m.byName[d.Node]; ok {
		m.nodes[i].Drivers = m.drivers[d.Node]
		m.touch(i)
	}
}

// setImages counts the nodes that have each image. A node's worth follows when it is next
// looked at: images alone are no reason to.
func (m *Mirror) setImages(n *node.Node, images []shape.Image) {
	if slices.Equal(n.Images, images) {
		return
	}
	for _, image := range n.Images {
		if m.images[image.Name]--; m.images[image.Name] == 0 {
			delete(m.images, image.Name)
		}
	}
	for _, image := range images {
		m.images[image.Name]++
	}
	n.Images = images
}

func same(a, b *node.Node) bool {
	return a.AllowedPods == b.AllowedPods && a.Allocatable.MilliCPU == b.Allocatable.MilliCPU &&
		a.Allocatable.Memory == b.Allocatable.Memory && a.Allocatable.Ephemeral == b.Allocatable.Ephemeral &&
		slices.Equal(a.Allocatable.Scalars, b.Allocatable.Scalars) &&
		a.Self.Labels[corev1.LabelHostname] == b.Self.Labels[corev1.LabelHostname]
}

func (m *Mirror) dropNode(name string) {
	i, ok := m.byName[name]
	if !ok || !m.nodes[i].Present {
		return
	}
	m.setImages(&m.nodes[i], nil)
	m.nodes[i].Unset()
	m.index.SetNode(i, nil)
	m.present--
	m.touch(i)
	m.release(i)
}

// touch notes that a node changed. The log is cut when it is long: whoever was
// not there meanwhile looks at every node.
func (m *Mirror) touch(i int32) {
	if len(m.log) > 4*len(m.nodes)+1024 {
		m.base += uint64(len(m.log) / 2)
		m.log = append(m.log[:0], m.log[len(m.log)/2:]...)
	}
	m.log = append(m.log, i)
}

// Position is where the change log ends now.
func (m *Mirror) Position() uint64 { return m.base + uint64(len(m.log)) }

// Since gives the nodes that changed behind a position, with repetitions, or
// false when the log does not reach back that far. Good until the next change.
func (m *Mirror) Since(position uint64) ([]int32, bool) {
	if position < m.base {
		return nil, false
	}
	return m.log[position-m.base:], true
}
