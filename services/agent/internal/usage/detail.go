package usage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// detail is what a container's group tells beyond its counters. What the kernel does not tell is absent.
type detail map[string]float64

// source is where the kernel tells a metric of a group.
type source struct {
	metric      string
	file, field string // no field: the file is one number
	scale       float64
}

// unifiedSources and splitSources are those of cgroup v2 and v1; files of the latter begin with their controller.
var (
	unifiedSources = []source{
		{"container_cpu_user_seconds_total", "cpu.stat", "user_usec", 1e-6},
		{"container_cpu_system_seconds_total", "cpu.stat", "system_usec", 1e-6},
		{"container_cpu_cfs_periods_total", "cpu.stat", "nr_periods", 1},
		{"container_cpu_cfs_throttled_periods_total", "cpu.stat", "nr_throttled", 1},
		{"container_cpu_cfs_throttled_seconds_total", "cpu.stat", "throttled_usec", 1e-6},
		{"container_memory_usage_bytes", "memory.current", "", 1},
		{"container_memory_rss", "memory.stat", "anon", 1},
		{"container_memory_cache", "memory.stat", "file", 1},
		{"container_memory_mapped_file", "memory.stat", "file_mapped", 1},
		{"container_oom_events_total", "memory.events", "oom_kill", 1},
		{"container_threads", "pids.current", "", 1},
	}
	splitSources = []source{
		{"container_cpu_user_seconds_total", "cpuacct/cpuacct.usage_user", "", 1e-9},
		{"container_cpu_system_seconds_total", "cpuacct/cpuacct.usage_sys", "", 1e-9},
		{"container_cpu_cfs_periods_total", "cpu/cpu.stat", "nr_periods", 1},
		{"container_cpu_cfs_throttled_periods_total", "cpu/cpu.stat", "nr_throttled", 1},
		{"container_cpu_cfs_throttled_seconds_total", "cpu/cpu.stat", "throttled_time", 1e-9},
		{"container_memory_usage_bytes", "memory/memory.usage_in_bytes", "", 1},
		{"container_memory_rss", "memory/memory.stat", "total_rss", 1},
		{"container_memory_cache", "memory/memory.stat", "total_cache", 1},
		{"container_memory_mapped_file", "memory/memory.stat", "total_mapped_file", 1},
		{"container_oom_events_total", "memory/memory.oom_control", "oom_kill", 1},
		{"container_threads", "pids/pids.current", "", 1},
	}
)

// detail reads the group at a path.
func (r *reader) detail(path string) detail {
	out := detail{}
	sources := splitSources
	if r.v2 {
		sources = unifiedSources
	}
	for _, s := range sources {
		file := filepath.Join(r.root, path, s.file)
		if !r.v2 {
			controller, name, _ := strings.Cut(s.file, "/")
			file = filepath.Join(r.root, controller, path, name)
		}
		read := r.number
		if s.field != "" {
			read = func(file string) (uint64, error) { return r.field(file, s.field) }
		}
		if n, err := read(file); err == nil {
			out[s.metric] = float64(n) * s.scale
		}
	}
	return out
}

// link is what a network interface has carried: received and sent.
type link struct {
	name     string
	in, out  uint64 // bytes
	inP      uint64 // packets
	outP     uint64
	inErr    uint64
	outErr   uint64
	inDrops  uint64
	outDrops uint64
}

// links are the interfaces of a process, loopback left out; none where it shares the agent's network.
func links(proc string, pid int) []link {
	dir := filepath.Join(proc, strconv.Itoa(pid))
	own, err := os.Readlink(filepath.Join(proc, "self", "ns", "net"))
	if err != nil {
		return nil
	}
	if of, err := os.Readlink(filepath.Join(dir, "ns", "net")); err != nil || of == own {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "net", "dev"))
	if err != nil {
		return nil // it ended meanwhile
	}
	return parseLinks(data)
}

// parseLinks reads a /proc/PID/net/dev: after a colon eight numbers of what came in, eight of what went out.
func parseLinks(data []byte) (out []link) {
	for line := range bytes.Lines(data) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		fields := bytes.Fields(rest)
		if !ok || len(fields) < 16 || string(bytes.TrimSpace(name)) == "lo" {
			continue
		}
		var n [16]uint64
		for i := range n {
			n[i], _ = strconv.ParseUint(string(fields[i]), 10, 64) // the kernel writes numbers
		}
		out = append(out, link{
			name: string(bytes.TrimSpace(name)), in: n[0], inP: n[1], inErr: n[2], inDrops: n[3], out: n[8], outP: n[9], outErr: n[10], outDrops: n[11],
		})
	}
	return out
}

func (l *link) metrics() map[string]uint64 {
	return map[string]uint64{
		"container_network_receive_bytes_total": l.in, "container_network_receive_packets_total": l.inP,
		"container_network_receive_errors_total": l.inErr, "container_network_receive_packets_dropped_total": l.inDrops,
		"container_network_transmit_bytes_total": l.out, "container_network_transmit_packets_total": l.outP,
		"container_network_transmit_errors_total": l.outErr, "container_network_transmit_packets_dropped_total": l.outDrops,
	}
}

// label quotes a value as the text format wants it.
func label(name, value string) string {
	return fmt.Sprintf(`%s="%s"`, name, escaper.Replace(value))
}

var escaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
