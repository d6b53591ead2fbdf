package agent

import (
	"context"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/cgroup"
	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/volume"
)

// measure gives what pods take of a resource, for evictions.
func (a *agent) measure(rt *runtime.Node) func(context.Context, []*corev1.Pod, corev1.ResourceName) map[types.UID]*eviction.Usage {
	return func(ctx context.Context, pods []*corev1.Pod, of corev1.ResourceName) map[types.UID]*eviction.Usage {
		out := map[types.UID]*eviction.Usage{}
		for _, p := range pods {
			out[p.UID] = &eviction.Usage{Pod: eviction.Use{}}
		}
		switch of {
		case corev1.ResourceMemory:
			a.measureMemory(out)
		case eviction.PIDs:
			for _, sb := range rt.Sandboxes() {
				u := out[types.UID(sb.PodUID)]
				if u == nil {
					continue
				}
				for _, c := range rt.Containers(sb.ID) {
					u.Pod[of] += int64(len(cgroup.Processes(cgroup.Dirs(c.Cgroup))))
				}
			}
		default:
			for _, p := range pods {
				a.measureDisk(ctx, rt, p, out[p.UID])
			}
		}
		return out
	}
}

// measureMemory leaves out pods that nothing is known of yet.
func (a *agent) measureMemory(out map[types.UID]*eviction.Usage) {
	now, _, _ := a.usage.Readings()
	known := map[types.UID]bool{}
	for i := range now.Pods {
		uid := types.UID(now.Pods[i].UID)
		u := out[uid]
		if u == nil {
			continue
		}
		known[uid] = true
		for j := range now.Pods[i].Containers {
			c := &now.Pods[i].Containers[j]
			u.Containers = append(u.Containers, eviction.ContainerUse{Name: c.Name, Use: eviction.Use{corev1.ResourceMemory: c.WorkingSet()}})
			u.Pod[corev1.ResourceMemory] += c.WorkingSet()
		}
	}
	for uid := range out {
		if !known[uid] {
			delete(out, uid)
		}
	}
}

// measureDisk adds what a pod has on the disk: what its containers have written, ended ones
// included, their logs, and volumes that are its own. Each of these is walked once; files with
// several names have all of them in one of them, since no link leads from one mount to another.
func (a *agent) measureDisk(ctx context.Context, rt *runtime.Node, p *corev1.Pod, u *eviction.Usage) {
	logs := pod.LogDir(a.cfg.LogDir, p)
	u.Pod.Add(eviction.DiskUse(ctx, logs))
	for _, sb := range rt.Sandboxes() {
		if sb.PodUID != string(p.UID) {
			continue
		}
		for _, c := range rt.Containers(sb.ID) {
			use := eviction.DiskUse(ctx, rt.WrittenBy(c.ID))
			u.Pod.Add(use)
			if c.State == runtime.ContainerRunning {
				use.Add(eviction.DiskUse(ctx, filepath.Join(logs, c.Name)))
				u.Containers = append(u.Containers, eviction.ContainerUse{Name: c.Name, Use: use})
			}
		}
	}
	u.Volumes = map[string]int64{}
	for name, dir := range volume.OnDisk(a.store.PodDir(p.UID)) {
		use := eviction.DiskUse(ctx, dir)
		u.Pod.Add(use)
		u.Volumes[name] = use[corev1.ResourceEphemeralStorage]
	}
}
