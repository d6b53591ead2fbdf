package usage

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"kubus.dev/services/agent/internal/runtime"
)

// families are the metrics of /metrics/cadvisor, by name: kind and upstream's help.
var families = map[string][2]string{
	"container_cpu_usage_seconds_total":                {"counter", "Cumulative cpu time consumed in seconds."},
	"container_cpu_user_seconds_total":                 {"counter", "Cumulative user cpu time consumed in seconds."},
	"container_cpu_system_seconds_total":               {"counter", "Cumulative system cpu time consumed in seconds."},
	"container_cpu_cfs_periods_total":                  {"counter", "Number of elapsed enforcement period intervals."},
	"container_cpu_cfs_throttled_periods_total":        {"counter", "Number of throttled period intervals."},
	"container_cpu_cfs_throttled_seconds_total":        {"counter", "Total time duration the container has been throttled."},
	"container_memory_usage_bytes":                     {"gauge", "Current memory usage in bytes, including all memory regardless of when it was accessed"},
	"container_memory_working_set_bytes":               {"gauge", "Current working set in bytes."},
	"container_memory_rss":                             {"gauge", "Size of RSS in bytes."},
	"container_memory_cache":                           {"gauge", "Number of bytes of page cache memory."},
	"container_memory_mapped_file":                     {"gauge", "Size of memory mapped files in bytes."},
	"container_oom_events_total":                       {"counter", "Count of out of memory events observed for the container"},
	"container_threads":                                {"gauge", "Number of threads running inside the container"},
	"container_last_seen":                              {"gauge", "Last time a container was seen by the exporter"},
	"container_start_time_seconds":                     {"gauge", "Start time of the container since unix epoch in seconds."},
	"container_spec_cpu_period":                        {"gauge", "CPU period of the container."},
	"container_spec_cpu_quota":                         {"gauge", "CPU quota of the container."},
	"container_spec_cpu_shares":                        {"gauge", "CPU share of the container."},
	"container_spec_memory_limit_bytes":                {"gauge", "Memory limit for the container."},
	"container_network_receive_bytes_total":            {"counter", "Cumulative count of bytes received"},
	"container_network_receive_packets_total":          {"counter", "Cumulative count of packets received"},
	"container_network_receive_errors_total":           {"counter", "Cumulative count of errors encountered while receiving"},
	"container_network_receive_packets_dropped_total":  {"counter", "Cumulative count of packets dropped while receiving"},
	"container_network_transmit_bytes_total":           {"counter", "Cumulative count of bytes transmitted"},
	"container_network_transmit_packets_total":         {"counter", "Cumulative count of packets transmitted"},
	"container_network_transmit_errors_total":          {"counter", "Cumulative count of errors encountered while transmitting"},
	"container_network_transmit_packets_dropped_total": {"counter", "Cumulative count of packets dropped while transmitting"},
	"machine_cpu_cores":                                {"gauge", "Number of logical CPU cores."},
	"machine_memory_bytes":                             {"gauge", "Amount of memory installed on the machine."},
}

// Machine is the node that containers run on.
type Machine struct {
	CPUs   int64
	Memory int64 // bytes
}

// exposition gathers samples by their metric.
type exposition struct{ samples map[string][]string }

func (e *exposition) add(metric string, labels []string, value float64, at time.Time) {
	line := metric
	if len(labels) > 0 {
		line += "{" + strings.Join(labels, ",") + "}"
	}
	line += " " + strconv.FormatFloat(value, 'g', -1, 64)
	if !at.IsZero() {
		line += " " + strconv.FormatInt(at.UnixMilli(), 10)
	}
	e.samples[metric] = append(e.samples[metric], line)
}

func (e *exposition) text() []byte {
	var out bytes.Buffer
	for _, metric := range slices.Sorted(maps.Keys(e.samples)) {
		of := families[metric]
		f := family{name: metric, kind: of[0], help: of[1], samples: e.samples[metric]}
		f.write(&out)
	}
	return out.Bytes()
}

// Cadvisor reads what a kubelet's /metrics/cadvisor tells of the containers that run: their groups, and of each pod
// with a network of its own its links. Nothing of it is read unless somebody asks.
func (s *Sampler) Cadvisor(m Machine) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cadvisor(s.reader, "/proc", s.of, m, time.Now())
}

func cadvisor(r *reader, proc string, of Containers, m Machine, now time.Time) []byte {
	e := &exposition{samples: map[string][]string{}}
	e.add("machine_cpu_cores", nil, float64(m.CPUs), time.Time{})
	e.add("machine_memory_bytes", nil, float64(m.Memory), time.Time{})
	for _, sb := range of.Sandboxes() {
		if sb.State != runtime.SandboxReady {
			continue
		}
		networked := false
		for _, c := range of.Containers(sb.ID) {
			if c.State != runtime.ContainerRunning {
				continue
			}
			e.container(r, &sb, &c, now)
			if !networked {
				networked = e.network(&sb, links(proc, c.PID), now)
			}
		}
	}
	return e.text()
}

func (e *exposition) container(r *reader, sb *runtime.Sandbox, c *runtime.ContainerStatus, now time.Time) {
	labels := []string{
		label("container", c.Name), label("id", c.Cgroup), label("image", c.Image), label("name", c.ID), label("namespace", sb.Namespace), label("pod", sb.Name),
	}
	got, err := r.group(c.Cgroup)
	if err != nil {
		return // it has most likely just ended
	}
	e.add("container_cpu_usage_seconds_total", append([]string{label("cpu", "total")}, labels...), seconds(got.cpu), now)
	e.add("container_memory_working_set_bytes", labels, float64(got.memory), now)
	for metric, value := range r.detail(c.Cgroup) {
		e.add(metric, labels, value, now)
	}
	e.add("container_last_seen", labels, float64(now.Unix()), now)
	e.add("container_start_time_seconds", labels, float64(c.StartedAt.Unix()), time.Time{})
	e.add("container_spec_cpu_period", labels, float64(c.Resources.CPUPeriod), time.Time{})
	e.add("container_spec_cpu_shares", labels, float64(c.Resources.CPUShares), time.Time{})
	e.add("container_spec_memory_limit_bytes", labels, float64(c.Resources.MemoryLimit), time.Time{})
	if c.Resources.CPUQuota > 0 {
		e.add("container_spec_cpu_quota", labels, float64(c.Resources.CPUQuota), time.Time{})
	}
}

// network tells whether the pod has a network of its own.
func (e *exposition) network(sb *runtime.Sandbox, all []link, now time.Time) bool {
	for i := range all {
		labels := []string{label("interface", all[i].name), label("namespace", sb.Namespace), label("pod", sb.Name)}
		for metric, n := range all[i].metrics() {
			e.add(metric, labels, float64(n), now)
		}
	}
	return len(all) > 0
}
