package usage

import (
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Summary is a reading as a kubelet's /stats/summary: CPU and memory of the node, the pods
// and their containers, and the file system of dataDir. Rates come from the reading before;
// without one they are absent.
func (r *Reading) Summary(node, dataDir string, before *Reading) *stats.Summary {
	out := &stats.Summary{Node: stats.NodeStats{NodeName: node, Fs: fileSystem(dataDir, r.At)}, Pods: []stats.PodStats{}}
	earlier := before.points()
	if r.Node != nil {
		var old *point
		if before != nil {
			old = before.Node
		}
		out.Node.CPU, out.Node.Memory = cpu(&r.Node.counters, old, r.Node.at), memory(&r.Node.counters, r.Node.at)
	}
	for i := range r.Pods {
		p := &r.Pods[i]
		ps := stats.PodStats{PodRef: stats.PodReference{Name: p.Name, Namespace: p.Namespace, UID: p.UID}, StartTime: metav1.NewTime(p.Started)}
		all, rate := p.sum(), uint64(0)
		known := true
		for j := range p.Containers {
			c := &p.Containers[j]
			cs := stats.ContainerStats{Name: c.Name, StartTime: metav1.NewTime(c.Started), CPU: cpu(&c.counters, earlier[c.ID], c.at), Memory: memory(&c.counters, c.at)}
			if cs.CPU.UsageNanoCores == nil {
				known = false
			} else {
				rate += *cs.CPU.UsageNanoCores
			}
			ps.Containers = append(ps.Containers, cs)
		}
		ps.CPU, ps.Memory = cpu(&all.counters, nil, all.at), memory(&all.counters, all.at)
		if known {
			ps.CPU.UsageNanoCores = &rate
		}
		out.Pods = append(out.Pods, ps)
	}
	return out
}

// points are a reading's containers by their ids.
func (r *Reading) points() map[string]*point {
	out := map[string]*point{}
	if r == nil {
		return out
	}
	for i := range r.Pods {
		for j := range r.Pods[i].Containers {
			out[r.Pods[i].Containers[j].ID] = &r.Pods[i].Containers[j].point
		}
	}
	return out
}

func cpu(c *counters, old *point, at time.Time) *stats.CPUStats {
	total := c.cpu
	out := &stats.CPUStats{Time: metav1.NewTime(at), UsageCoreNanoSeconds: &total}
	if old != nil && at.After(old.at) && c.cpu >= old.cpu {
		rate := uint64(float64(c.cpu-old.cpu) / at.Sub(old.at).Seconds())
		out.UsageNanoCores = &rate
	}
	return out
}

func memory(c *counters, at time.Time) *stats.MemoryStats {
	set := c.memory
	return &stats.MemoryStats{Time: metav1.NewTime(at), WorkingSetBytes: &set}
}

func fileSystem(dir string, at time.Time) *stats.FsStats {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return nil
	}
	size := uint64(fs.Bsize)
	capacity, available, used := fs.Blocks*size, fs.Bavail*size, (fs.Blocks-fs.Bfree)*size
	inodes, free := fs.Files, fs.Ffree
	return &stats.FsStats{Time: metav1.NewTime(at), CapacityBytes: &capacity, AvailableBytes: &available, UsedBytes: &used, Inodes: &inodes, InodesFree: &free}
}
