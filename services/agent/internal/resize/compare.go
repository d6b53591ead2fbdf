package resize

import (
	"cmp"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/runtime"
)

// Container is a running container as it is.
type Container struct {
	Resources runtime.Resources // of its cgroup
	// Set is what the cgroup was last set by, as Effective gives it; nil: an agent of before did not note it.
	Set *corev1.ResourceRequirements
}

// Changes bring what runs to what is granted.
type Changes struct {
	// Restart lists containers that must start anew for it. While there are some, there are no steps: they end first.
	Restart []string
	// Lower are memory limits that get lower; none may be at or below what is used, else no step may be taken.
	Lower []Lower
	// Steps are to be taken in their order. Whoever stops halfway may compare again and go on.
	Steps []Step
	// Unmet: something that runs does not have what the pod's spec grants it. Steps alone may also mend a group that
	// differs for another reason.
	Unmet bool
}

// Lower is a memory limit that gets lower, in bytes; no container is the pod's.
type Lower struct {
	Container string
	Limit     int64
}

// Step sets one cgroup; no container is the pod's. Set is to be kept with the container.
type Step struct {
	Container string
	Resources runtime.Resources
	Set       corev1.ResourceRequirements
}

var resizable = []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU}

// Effective is what a container may have of CPU and memory: its own requests and limits, and the pod's limit where it
// has none.
func Effective(pod *corev1.Pod, c *corev1.Container) corev1.ResourceRequirements {
	var out corev1.ResourceRequirements
	for _, name := range resizable {
		if q, ok := c.Resources.Requests[name]; ok {
			put(&out.Requests, name, q)
		}
		if q := launch.Limit(pod, c, name); !q.IsZero() {
			put(&out.Limits, name, q)
		}
	}
	return out
}

func put(list *corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = q
}

// Compare says what to do. The pod has the resources it is granted; group is the pod's cgroup; running has the
// containers that run and are not being started.
func Compare(pod *corev1.Pod, group runtime.Resources, running map[string]Container) Changes {
	var out Changes
	var changed []*change
	for _, c := range containers(pod) {
		now, ok := running[c.Name]
		if !ok {
			continue
		}
		ch := compare(pod, c, now)
		if !ch.memory && !ch.cpu {
			continue
		}
		out.Unmet = true
		if ch.restarts(c, now) {
			out.Restart = append(out.Restart, c.Name)
		}
		changed = append(changed, ch)
	}
	if len(out.Restart) > 0 {
		return out
	}
	target := launch.PodResources(pod, 0)
	if lower(target.MemoryLimit, group.MemoryLimit) {
		out.Lower = append(out.Lower, Lower{Limit: target.MemoryLimit})
	}
	for _, ch := range changed {
		if lower(ch.want.MemoryLimit, ch.now.MemoryLimit) {
			out.Lower = append(out.Lower, Lower{ch.name, ch.want.MemoryLimit})
		}
	}
	p := &steps{out: &out, group: group}
	p.memory(target, changed)
	p.cpu(target, changed)
	if pod.Spec.Resources != nil && p.group != group {
		out.Unmet = true
	}
	return out
}

// change is one container that does not have what it is granted.
type change struct {
	name        string
	now, want   runtime.Resources
	set, wanted corev1.ResourceRequirements
	memory, cpu bool
}

func compare(pod *corev1.Pod, c *corev1.Container, now Container) *change {
	ch := &change{name: c.Name, now: now.Resources, want: launch.Resources(pod, c, 0), wanted: Effective(pod, c)}
	ch.set = ch.wanted
	if now.Set != nil {
		ch.set = *now.Set
	}
	ch.memory = ch.now.MemoryLimit != ch.want.MemoryLimit || !same(ch.set, ch.wanted, corev1.ResourceMemory)
	ch.cpu = ch.now.CPUShares != ch.want.CPUShares || ch.now.CPUQuota != ch.want.CPUQuota || !same(ch.set, ch.wanted, corev1.ResourceCPU)
	return ch
}

func same(a, b corev1.ResourceRequirements, name corev1.ResourceName) bool {
	request, limit := a.Requests[name], a.Limits[name]
	return request.Cmp(b.Requests[name]) == 0 && limit.Cmp(b.Limits[name]) == 0
}

// restarts tells whether the container's policy asks for a restart to change what changes.
func (ch *change) restarts(c *corev1.Container, now Container) bool {
	return now.Set != nil && slices.ContainsFunc(c.ResizePolicy, func(p corev1.ContainerResizePolicy) bool {
		return p.RestartPolicy == corev1.RestartContainer && !same(ch.set, ch.wanted, p.ResourceName)
	})
}

// grows is negative for a container that gets less, positive for one that gets more.
func (ch *change) grows(name corev1.ResourceName) int {
	from, to := ch.set.Limits[name], ch.wanted.Limits[name]
	if from.Cmp(to) == 0 {
		from, to = ch.set.Requests[name], ch.wanted.Requests[name]
	}
	return to.Cmp(from)
}

// steps collects them; group is the pod's cgroup as the last of them leaves it.
type steps struct {
	out   *Changes
	group runtime.Resources
}

func (p *steps) pod(r runtime.Resources) {
	if r == p.group {
		return
	}
	p.group = r
	p.out.Steps = append(p.out.Steps, Step{Resources: r})
}

// memory grows the pod's group before those in it, and shrinks it after them.
func (p *steps) memory(target runtime.Resources, changed []*change) {
	next := p.group
	next.MemoryLimit = target.MemoryLimit
	if lower(p.group.MemoryLimit, target.MemoryLimit) {
		p.pod(next)
	}
	for _, ch := range ordered(changed, corev1.ResourceMemory) {
		if !ch.memory {
			continue
		}
		ch.now.MemoryLimit = ch.want.MemoryLimit
		ch.set = with(ch.set, ch.wanted, corev1.ResourceMemory)
		p.out.Steps = append(p.out.Steps, Step{ch.name, ch.now, ch.set})
	}
	p.pod(next)
}

// cpu does the same with quota and shares, each for itself.
func (p *steps) cpu(target runtime.Resources, changed []*change) {
	first, last := p.group, p.group
	last.CPUShares, last.CPUQuota, last.CPUPeriod = target.CPUShares, target.CPUQuota, target.CPUPeriod
	if lower(p.group.CPUQuota, target.CPUQuota) {
		first.CPUQuota, first.CPUPeriod = target.CPUQuota, target.CPUPeriod
	}
	first.CPUShares = max(first.CPUShares, target.CPUShares)
	p.pod(first)
	for _, ch := range ordered(changed, corev1.ResourceCPU) {
		if !ch.cpu {
			continue
		}
		ch.now.CPUShares, ch.now.CPUQuota, ch.now.CPUPeriod = ch.want.CPUShares, ch.want.CPUQuota, ch.want.CPUPeriod
		ch.set = with(ch.set, ch.wanted, corev1.ResourceCPU)
		p.out.Steps = append(p.out.Steps, Step{ch.name, ch.now, ch.set})
	}
	p.pod(last)
}

func ordered(changed []*change, name corev1.ResourceName) []*change {
	out := slices.Clone(changed)
	slices.SortStableFunc(out, func(a, b *change) int { return cmp.Compare(a.grows(name), b.grows(name)) })
	return out
}

// with is set with one resource as in wanted.
func with(set, wanted corev1.ResourceRequirements, name corev1.ResourceName) corev1.ResourceRequirements {
	out := *set.DeepCopy()
	for _, l := range []struct {
		to   *corev1.ResourceList
		from corev1.ResourceList
	}{{&out.Requests, wanted.Requests}, {&out.Limits, wanted.Limits}} {
		delete(*l.to, name)
		if q, ok := l.from[name]; ok {
			put(l.to, name, q)
		}
	}
	return out
}

// lower tells whether one limit is below another; zero and less are none.
func lower(a, b int64) bool {
	if a <= 0 {
		a = math.MaxInt64
	}
	if b <= 0 {
		b = math.MaxInt64
	}
	return a < b
}
