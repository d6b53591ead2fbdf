package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/status"
)

// Snapshot is a pod as its worker saw it last. Nothing in it may be changed.
type Snapshot struct {
	Pod     *corev1.Pod
	Status  corev1.PodStatus
	Sandbox *runtime.Sandbox            // nil before it exists
	IPs     []string                    // where others reach it; the node's with its network
	Records map[string][]*status.Record // by container, its attempts from the newest on
}

// publish makes the present state visible to readers.
func (w *worker) publish() {
	s := &Snapshot{Pod: w.pod, Status: w.last, Sandbox: w.sandbox, IPs: w.podIPs(), Records: make(map[string][]*status.Record, len(w.containers))}
	for name, c := range w.containers {
		if !c.busy {
			s.Records[name] = c.records
		}
	}
	w.snapshot.Store(s)
}

// Find gives a pod by its name, and by its uid unless that is empty; nil when it
// is not on the node.
func (m *Manager) Find(namespace, name string, uid types.UID) *Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found *Snapshot
	for _, w := range m.workers {
		s := w.snapshot.Load()
		if s == nil || s.Pod.Namespace != namespace || s.Pod.Name != name || uid != "" && s.Pod.UID != uid {
			continue
		}
		if found == nil || found.Pod.DeletionTimestamp != nil {
			found = s
		}
	}
	return found
}

// Running gives a running container by name; its error is fit for a user.
func (s *Snapshot) Running(container string) (*status.Record, error) {
	records := s.Records[container]
	if len(records) == 0 || records[0].State != runtime.ContainerRunning {
		if s.has(container) {
			return nil, fmt.Errorf("container not found (%q)", container)
		}
		return nil, fmt.Errorf("container %s is not valid for pod %s", container, s.Pod.Name)
	}
	return records[0], nil
}

func (s *Snapshot) has(container string) bool {
	return lastStatus(&s.Status, container) != nil
}

// Log gives the attempt whose log is meant; kubelet's words say why there is none.
func (s *Snapshot) Log(container string, previous bool) (*status.Record, error) {
	name := s.Pod.Name
	cs := lastStatus(&s.Status, container)
	if cs == nil {
		return nil, fmt.Errorf("container %q in pod %q is not available", container, name)
	}
	records := s.Records[container]
	if previous {
		if len(records) > 0 && records[0].State == runtime.ContainerExited && cs.State.Waiting != nil {
			return records[0], nil
		}
		if len(records) > 1 {
			return records[1], nil
		}
		return nil, fmt.Errorf("previous terminated container %q in pod %q not found", container, name)
	}
	if len(records) > 0 {
		return records[0], nil
	}
	switch waiting := cs.State.Waiting; {
	case waiting == nil:
		return nil, fmt.Errorf("container %q in pod %q is terminated", container, name)
	case waiting.Reason == reasonPull:
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: image can't be pulled", container, name)
	case waiting.Reason == reasonPullBackOff:
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", container, name)
	default:
		return nil, fmt.Errorf("container %q in pod %q is waiting to start: %v", container, name, waiting.Reason)
	}
}
