package pod

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/status"
)

// catchUp reads the node anew before a pod is judged that does not match what is
// known of it: it may have been bound by a label of a moment ago.
func (m *Manager) catchUp(pod *corev1.Pod) {
	m.mu.Lock()
	known := m.workers[pod.UID] != nil || m.ended[pod.UID]
	m.mu.Unlock()
	if node := m.d.Node.Object(); !known && node != nil && !matches(pod, node) {
		m.d.Node.Reread(m.ctx)
	}
}

func matches(pod *corev1.Pod, node *corev1.Node) bool {
	ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	return ok && err == nil
}

// admit tells why the node cannot take a new pod; nil when it can. The lock is held.
func (m *Manager) admit(pod *corev1.Pod) *status.Failure {
	if m.down {
		return m.reject(pod, reasonShutdown, messageShutdown)
	}
	if m.d.Node.Pressure != nil {
		if message := eviction.Admit(pod, m.d.Node.Pressure(), launch.QOS(pod) == corev1.PodQOSBestEffort); message != "" {
			return m.reject(pod, eviction.Reason, message)
		}
	}
	if message := AdmitSysctls(pod, m.d.Node.UnsafeSysctls); message != "" {
		return m.reject(pod, "SysctlForbidden", message)
	}
	var refusal *launch.Refusal
	if errors.As(launch.Isolated(pod), &refusal) {
		return m.reject(pod, refusal.Reason, refusal.Message)
	}
	node := m.d.Node.Object()
	if node == nil {
		return nil
	}
	reason, message := Admit(pod, m.unmanaged(node), m.others(nil))
	if reason == "" {
		return nil
	}
	return m.reject(pod, reason, message)
}

// others are the pods that take room on the node, with what they are granted, but for one. The lock is held.
func (m *Manager) others(but *worker) []*corev1.Pod {
	out := make([]*corev1.Pod, 0, len(m.workers))
	for _, w := range m.workers {
		if w != but && !w.over() {
			pod := *w.granted.Apply(w.newest)
			if s := w.snapshot.Load(); s != nil {
				pod.Status = s.Status // what it has may still be more
			}
			out = append(out, &pod)
		}
	}
	return out
}

// over tells whether the pod takes no room: it has ended, or its object is gone, so that whoever binds a new pod does
// not count it any more.
func (w *worker) over() bool {
	s := w.snapshot.Load()
	return w.gone || s != nil && terminal(s.Status.Phase)
}

func (m *Manager) reject(pod *corev1.Pod, reason, message string) *status.Failure {
	m.d.Events.Pod(pod, "", corev1.EventTypeWarning, reason, message)
	return &status.Failure{Reason: reason, Message: "Pod was rejected: " + message, Rejected: true}
}

// Admit checks a pod against the node as kubelet does before it runs one that was
// bound to it by whomever; an empty reason admits it. Others count with what their statuses say they have, where that is
// more than their specs ask for.
func Admit(pod *corev1.Pod, node *corev1.Node, others []*corev1.Pod) (reason, message string) {
	if pod.Spec.OS != nil && pod.Spec.OS.Name != corev1.Linux {
		return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
	}
	if r, msg := fits(pod, node, others); r != "" {
		return r, msg
	}
	if !matches(pod, node) {
		return "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	}
	for _, o := range others {
		if conflict(pod, o) {
			return "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
		}
	}
	return "", ""
}

// checked are the resources that are compared before others, and their order.
var checked = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// scalars are the further resources of a pod that the node has, sorted. What the node has not, such as that of an
// extender, is not for it to judge.
func scalars(want, have corev1.ResourceList) []corev1.ResourceName {
	var names []corev1.ResourceName
	for name := range want {
		if _, ok := have[name]; ok && name != corev1.ResourcePods && !slices.Contains(checked, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func fits(pod *corev1.Pod, node *corev1.Node, others []*corev1.Pod) (reason, message string) {
	if most := node.Status.Allocatable.Pods().Value(); most > 0 && int64(len(others))+1 > most {
		return "OutOfpods", insufficient("pods", 1, int64(len(others)), most)
	}
	want := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range slices.Concat(checked, scalars(want, node.Status.Allocatable)) {
		requested := amount(want, name)
		capacity, ok := node.Status.Allocatable[name]
		if requested == 0 || !ok {
			continue
		}
		var used int64
		for _, o := range others {
			used += amount(resourcehelper.PodRequests(o, resourcehelper.PodResourcesOptions{UseStatusResources: true}), name)
		}
		if most := amount(corev1.ResourceList{name: capacity}, name); used+requested > most {
			return "OutOf" + string(name), insufficient(string(name), requested, used, most)
		}
	}
	return "", ""
}

func insufficient(name string, requested, used, capacity int64) string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, requested, used, capacity)
}

func amount(list corev1.ResourceList, name corev1.ResourceName) int64 {
	q := list[name]
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// conflict tells whether two pods want the same port of the node.
func conflict(a, b *corev1.Pod) bool {
	for _, p := range hostPorts(a) {
		for _, q := range hostPorts(b) {
			if p.port == q.port && p.protocol == q.protocol && (p.ip == q.ip || p.ip == "" || q.ip == "") {
				return true
			}
		}
	}
	return false
}

type hostPort struct {
	port     int32
	protocol corev1.Protocol
	ip       string
}

func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.HostPort == 0 {
				continue
			}
			h := hostPort{p.HostPort, p.Protocol, p.HostIP}
			if h.protocol == "" {
				h.protocol = corev1.ProtocolTCP
			}
			if h.ip == "0.0.0.0" {
				h.ip = ""
			}
			out = append(out, h)
		}
	}
	return out
}
