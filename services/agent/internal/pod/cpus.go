package pod

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/runtime"
)

// CPUs gives containers CPUs of their own.
type CPUs interface {
	Wants(pod *corev1.Pod) bool
	// Allocate assigns CPUs to a pod's containers. It may be asked again.
	Allocate(pod *corev1.Pod) error
	// CPUs are those that a container may run on: its own, else what is shared now.
	CPUs(uid types.UID, container string) string
	// Reconcile frees what pods had that have ended.
	Reconcile() error
}

// placeEvery is how often CPUs of pods that have ended go back to the others, as kubelet's cpuManagerReconcilePeriod.
const placeEvery = 10 * time.Second

// PlaceAll keeps every container on the CPUs that it may run on, until ctx ends.
func (m *Manager) PlaceAll(ctx context.Context) error {
	for {
		if err := m.d.CPUs.Reconcile(); err != nil {
			m.d.Log.Error("CPUs of pods that have ended not freed", zap.Error(err))
		}
		m.place(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(placeEvery):
		}
	}
}

// place moves the running containers whose CPUs are others by now.
func (m *Manager) place(ctx context.Context) {
	for _, sb := range m.d.Runtime.Sandboxes() {
		for _, c := range m.d.Runtime.Containers(sb.ID) {
			if c.State == runtime.ContainerRunning {
				m.placeOne(ctx, types.UID(sb.PodUID), &c)
			}
		}
	}
}

func (m *Manager) placeOne(ctx context.Context, uid types.UID, c *runtime.ContainerStatus) {
	cpus := m.d.CPUs.CPUs(uid, c.Name)
	if c.Resources.CpusetCpus == cpus {
		return
	}
	if err := m.d.Runtime.PlaceContainer(ctx, c.ID, cpus); err != nil && !errors.Is(err, runtime.ErrNotRunning) && !errors.Is(err, runtime.ErrNotFound) {
		m.d.Log.Warn("container not moved to its CPUs", zap.String("uid", string(uid)), zap.String("container", c.Name), zap.Error(err))
	}
}

// allotCPUs assigns a new pod its CPUs, and takes them from the others before anything of it runs.
func (m *Manager) allotCPUs(ctx context.Context, pod *corev1.Pod) error {
	if m.d.CPUs == nil || !m.d.CPUs.Wants(pod) {
		return nil
	}
	if err := m.d.CPUs.Allocate(pod); err != nil {
		return err
	}
	m.place(ctx)
	return nil
}
