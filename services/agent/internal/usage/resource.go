package usage

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// family is one metric of /metrics/resource, in upstream's words.
type family struct {
	name, kind, help string
	samples          []string
}

func (f *family) add(labels string, value float64, at time.Time) {
	f.samples = append(f.samples, fmt.Sprintf("%s%s %s %d", f.name, labels, strconv.FormatFloat(value, 'g', -1, 64), at.UnixMilli()))
}

// Resource writes a reading as a kubelet's /metrics/resource.
func (r *Reading) Resource() []byte {
	containerCPU := &family{name: "container_cpu_usage_seconds_total", kind: "counter", help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds"}
	containerMemory := &family{name: "container_memory_working_set_bytes", kind: "gauge", help: "[STABLE] Current working set of the container in bytes"}
	containerStart := &family{name: "container_start_time_seconds", kind: "gauge", help: "[STABLE] Start time of the container since unix epoch in seconds"}
	nodeCPU := &family{name: "node_cpu_usage_seconds_total", kind: "counter", help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds"}
	nodeMemory := &family{name: "node_memory_working_set_bytes", kind: "gauge", help: "[STABLE] Current working set of the node in bytes"}
	podCPU := &family{name: "pod_cpu_usage_seconds_total", kind: "counter", help: "[STABLE] Cumulative cpu time consumed by the pod in core-seconds"}
	podMemory := &family{name: "pod_memory_working_set_bytes", kind: "gauge", help: "[STABLE] Current working set of the pod in bytes"}
	scrapeError := &family{name: "resource_scrape_error", kind: "gauge", help: "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise"}
	failed := 0.0
	if r.Node == nil {
		failed = 1
	} else {
		nodeCPU.add("", seconds(r.Node.cpu), r.Node.at)
		nodeMemory.add("", float64(r.Node.memory), r.Node.at)
	}
	for i := range r.Pods {
		p := &r.Pods[i]
		for j := range p.Containers {
			c := &p.Containers[j]
			labels := fmt.Sprintf("{container=%q,namespace=%q,pod=%q}", c.Name, p.Namespace, p.Name)
			containerCPU.add(labels, seconds(c.cpu), c.at)
			containerMemory.add(labels, float64(c.memory), c.at)
			containerStart.add(labels, float64(c.Started.UnixNano())/1e9, c.at)
		}
		labels, all := fmt.Sprintf("{namespace=%q,pod=%q}", p.Namespace, p.Name), p.sum()
		podCPU.add(labels, seconds(all.cpu), all.at)
		podMemory.add(labels, float64(all.memory), all.at)
	}
	var out bytes.Buffer
	for _, f := range []*family{containerCPU, containerMemory, containerStart, nodeCPU, nodeMemory, podCPU, podMemory} {
		f.write(&out)
	}
	fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n%s %g\n", scrapeError.name, scrapeError.help, scrapeError.name, scrapeError.kind, scrapeError.name, failed)
	return out.Bytes()
}

func (f *family) write(out *bytes.Buffer) {
	if len(f.samples) == 0 {
		return
	}
	fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
	for _, s := range f.samples {
		out.WriteString(s)
		out.WriteByte('\n')
	}
}

func seconds(ns uint64) float64 { return float64(ns) / 1e9 }

// sum is the pod's containers together, at the time of the first.
func (p *Pod) sum() point {
	all := point{at: p.Containers[0].at}
	for i := range p.Containers {
		all.cpu += p.Containers[i].cpu
		all.memory += p.Containers[i].memory
	}
	return all
}
