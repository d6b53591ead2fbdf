package agent

import (
	"context"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/agent/internal/runtime"
)

// measure gives what pods take, for evictions.
func (a *agent) measure(rt *runtime.Node) func(context.Context, []*corev1.Pod, bool) map[types.UID]*eviction.Usage {
	return func(ctx context.Context, pods []*corev1.Pod, disk bool) map[types.UID]*eviction.Usage {
		out := map[types.UID]*eviction.Usage{}
		now, _, _ := a.usage.Readings()
		for i := range now.Pods {
			u := &eviction.Usage{Pod: eviction.Use{}}
			for j := range now.Pods[i].Containers {
				c := &now.Pods[i].Containers[j]
				u.Containers = append(u.Containers, eviction.ContainerUse{Name: c.Name, Use: eviction.Use{corev1.ResourceMemory: c.WorkingSet()}})
				u.Pod[corev1.ResourceMemory] += c.WorkingSet()
			}
			out[types.UID(now.Pods[i].UID)] = u
		}
		if disk {
			for _, p := range pods {
				if u := out[p.UID]; u != nil {
					a.measureDisk(ctx, rt, p, u)
				}
			}
		}
		return out
	}
}

// measureDisk adds what a pod has on the disk: what its containers have written, ended ones
// included, their logs, and volumes that are its own.
func (a *agent) measureDisk(ctx context.Context, rt *runtime.Node, p *corev1.Pod, u *eviction.Usage) {
	logs := pod.LogDir(a.cfg.LogDir, p)
	dirs := []string{logs, filepath.Join(a.store.PodDir(p.UID), "volumes")}
	for _, sb := range rt.Sandboxes() {
		if sb.PodUID != string(p.UID) {
			continue
		}
		for _, c := range rt.Containers(sb.ID) {
			written := rt.WrittenBy(c.ID)
			dirs = append(dirs, written)
			for i := range u.Containers {
				if u.Containers[i].Name == c.Name && c.State == runtime.ContainerRunning {
					use := eviction.DiskUse(ctx, written, filepath.Join(logs, c.Name))
					u.Containers[i].Use[corev1.ResourceEphemeralStorage] = use[corev1.ResourceEphemeralStorage]
				}
			}
		}
	}
	for name, n := range eviction.DiskUse(ctx, dirs...) {
		u.Pod[name] = n
	}
}
