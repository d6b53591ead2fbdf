package pod

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"kubus.dev/services/agent/internal/device"
	"kubus.dev/services/agent/internal/oci"
	"kubus.dev/services/agent/internal/runtime"
)

// allot gets a new pod the CPUs and devices that it asks for, before anything of it is made; a pod that cannot have them is
// rejected. One that has containers was allotted its own by an agent of before.
func (w *worker) allot(ctx context.Context) {
	if w.terminating() && w.allotCancel != nil {
		w.allotCancel()
	}
	if w.allotment != Missing || w.terminating() {
		return
	}
	devices := w.d.Devices != nil && w.d.Devices.Wants(w.pod)
	if w.sandbox != nil || !devices && (w.d.CPUs == nil || !w.d.CPUs.Wants(w.pod)) {
		w.allotment = Ready
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	w.allotment, w.allotCancel = Busy, cancel
	pod := w.pod
	w.go1(func() func() {
		err := w.m.allotCPUs(ctx, pod)
		if err == nil && devices {
			err = w.d.Devices.Allocate(ctx, pod)
		}
		cut := ctx.Err() != nil
		cancel()
		return func() {
			w.allotment, w.allotCancel = Ready, nil
			if err == nil || cut || w.terminating() {
				return
			}
			var refused *device.Error
			message := err.Error()
			if !errors.As(err, &refused) {
				message = (&device.Error{Err: err}).Error()
			}
			w.failure = w.m.reject(pod, device.Reason, message)
			w.m.room()
		}
	})
}

// Unfinished gives the pods that have not ended, or of which something runs, by namespace and name.
func (m *Manager) Unfinished() []*corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*corev1.Pod, 0, len(m.workers))
	for _, w := range m.workers {
		if s := w.snapshot.Load(); s == nil || !terminal(s.Status.Phase) || s.alive() {
			out = append(out, w.newest)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return out
}

// devices adds to a container's spec what it gets for its devices. The pod's own variables win.
func (a *attempt) devices(ctx context.Context, spec *runtime.ContainerSpec) error {
	if a.d.Devices == nil {
		return nil
	}
	given, err := a.d.Devices.Prepare(ctx, a.pod, a.spec)
	if err != nil || given == nil {
		return err
	}
	spec.Env = oci.MergeEnv(given.Env, spec.Env)
	spec.Mounts = append(given.Mounts, spec.Mounts...)
	spec.Devices = append(given.Devices, spec.Devices...)
	spec.Annotations, spec.CDI = maps.Clone(given.Annotations), given.CDI
	return nil
}

// unmanaged is the node without the resources of device plugins: who has those is for them to say.
func (m *Manager) unmanaged(node *corev1.Node) *corev1.Node {
	if m.d.Devices == nil {
		return node
	}
	allocatable := maps.Clone(node.Status.Allocatable)
	maps.DeleteFunc(allocatable, func(name corev1.ResourceName, _ resource.Quantity) bool { return m.d.Devices.Manages(name) })
	out := *node
	out.Status.Allocatable = allocatable
	return &out
}
