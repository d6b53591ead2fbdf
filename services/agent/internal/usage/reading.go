package usage

import (
	"time"

	"kubus.dev/proto/message"
	"kubus.dev/services/agent/internal/runtime"
)

// Reading is what one pass found.
type Reading struct {
	At   time.Time // when the pass began
	Node *point    // nil: the machine's own group cannot be read
	Pods []Pod
}

// Pod is a pod with running containers.
type Pod struct {
	UID, Namespace, Name string
	Started              time.Time // when its sandbox was made
	Containers           []Container
}

// Container is a running container.
type Container struct {
	ID, Name string
	Started  time.Time
	point
}

// WorkingSet is the memory that the container cannot do without, in bytes.
func (c *Container) WorkingSet() int64 { return int64(c.memory) }

// point is a group's counters at a moment.
type point struct {
	counters
	at time.Time
}

// Containers is what runs on the node; a runtime.Runtime.
type Containers interface {
	Sandboxes() []runtime.Sandbox
	Containers(sandboxID string) []runtime.ContainerStatus
}

// read makes one pass. A group that cannot be read is left out: its container has most
// likely just ended.
func read(r *reader, of Containers) *Reading {
	out := &Reading{At: time.Now()}
	for _, s := range of.Sandboxes() {
		if s.State != runtime.SandboxReady {
			continue
		}
		p := Pod{UID: s.PodUID, Namespace: s.Namespace, Name: s.Name, Started: s.CreatedAt}
		for _, c := range of.Containers(s.ID) {
			if c.State != runtime.ContainerRunning {
				continue
			}
			now := time.Now()
			if got, err := r.group(c.Cgroup); err == nil {
				p.Containers = append(p.Containers, Container{ID: c.ID, Name: c.Name, Started: c.StartedAt, point: point{got, now}})
			}
		}
		if len(p.Containers) > 0 {
			out.Pods = append(out.Pods, p)
		}
	}
	now := time.Now()
	if got, err := r.group("/"); err == nil {
		out.Node = &point{got, now}
	}
	return out
}

// message is the reading as it is published.
func (r *Reading) message() *message.NodeUsage {
	m := &message.NodeUsage{TimeUnixNs: r.At.UnixNano()}
	if r.Node != nil {
		m.Node = r.usage(r.Node, time.Time{})
	}
	for i := range r.Pods {
		p := &message.PodUsage{Uid: r.Pods[i].UID}
		for j := range r.Pods[i].Containers {
			c := &r.Pods[i].Containers[j]
			p.Containers = append(p.Containers, &message.ContainerUsage{Name: c.Name, Usage: r.usage(&c.point, c.Started)})
		}
		m.Pods = append(m.Pods, p)
	}
	return m
}

func (r *Reading) usage(p *point, started time.Time) *message.Usage {
	u := &message.Usage{CpuNs: p.cpu, MemoryBytes: p.memory, AfterNs: int64(p.at.Sub(r.At))}
	if !started.IsZero() {
		u.StartUnixNs = started.UnixNano()
	}
	return u
}
