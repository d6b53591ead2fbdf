package usage

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// detailed are the files of group /app on a host of v1, and of v2.
var (
	detailed = map[string]string{
		"cpuacct/app/cpuacct.usage": "3000000000\n", "cpuacct/app/cpuacct.usage_user": "2000000000\n", "cpuacct/app/cpuacct.usage_sys": "1000000000\n",
		"cpu/app/cpu.stat":                 "nr_periods 10\nnr_throttled 4\nthrottled_time 500000000\n",
		"memory/app/memory.usage_in_bytes": "9000\n", "memory/app/memory.stat": "rss 1\ntotal_cache 4000\ntotal_rss 5000\ntotal_inactive_file 1000\n",
		"memory/app/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "pids/app/pids.current": "7\n",
	}
	detailedUnified = map[string]string{
		"app/cpu.stat":       "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 500000\n",
		"app/memory.current": "9000\n", "app/memory.stat": "anon 5000\nfile 4000\ninactive_file 1000\n", "app/memory.events": "oom 3\noom_kill 2\n", "app/pids.current": "7\n",
	}
)

const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:1500      12    1    2    0     0          0         0     2500      20    3    4    0     0       0          0
`

// ownNetwork is a /proc in which process 0, that of every container here, has a network of its own or that of the agent.
func ownNetwork(t *testing.T, own bool) string {
	t.Helper()
	proc := t.TempDir()
	ns := map[bool]string{true: "net:[2]", false: "net:[1]"}[own]
	for pid, to := range map[string]string{"self": "net:[1]", "0": ns} {
		if err := os.MkdirAll(filepath.Join(proc, pid, "ns"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(proc, pid, "ns", "net")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(proc, "0", "net"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(proc, "0", "net", "dev"), []byte(dev), 0o600); err != nil {
		t.Fatal(err)
	}
	return proc
}

func TestWhatCadvisorTellsIsTheSameOnBothKindsOfHosts(t *testing.T) {
	t.Parallel()
	const labels = `{container="app",id="/app",image="",name="c1",namespace="ns",pod="web"}`
	of := node{time.Unix(946684000, 0)}
	for name, r := range map[string]*reader{"v1": newReader(tree(t, detailed), false), "v2": newReader(tree(t, detailedUnified), true)} {
		got := string(cadvisor(r, ownNetwork(t, true), of, Machine{CPUs: 2, Memory: 1 << 30}, time.Unix(946684800, 0)))
		for _, line := range []string{
			`container_cpu_usage_seconds_total{cpu="total",container="app",id="/app",image="",name="c1",namespace="ns",pod="web"} 3 946684800000`,
			`container_cpu_user_seconds_total` + labels + ` 2 946684800000`,
			`container_cpu_system_seconds_total` + labels + ` 1 946684800000`,
			`container_cpu_cfs_periods_total` + labels + ` 10 946684800000`,
			`container_cpu_cfs_throttled_periods_total` + labels + ` 4 946684800000`,
			`container_cpu_cfs_throttled_seconds_total` + labels + ` 0.5 946684800000`,
			`container_memory_usage_bytes` + labels + ` 9000 946684800000`,
			`container_memory_working_set_bytes` + labels + ` 8000 946684800000`,
			`container_memory_rss` + labels + ` 5000 946684800000`,
			`container_memory_cache` + labels + ` 4000 946684800000`,
			`container_oom_events_total` + labels + ` 2 946684800000`,
			`container_threads` + labels + ` 7 946684800000`,
			`container_start_time_seconds` + labels + ` 9.46684e+08`,
			`container_network_receive_bytes_total{interface="eth0",namespace="ns",pod="web"} 1500 946684800000`,
			`container_network_receive_packets_dropped_total{interface="eth0",namespace="ns",pod="web"} 2 946684800000`,
			`container_network_transmit_bytes_total{interface="eth0",namespace="ns",pod="web"} 2500 946684800000`,
			`container_network_transmit_errors_total{interface="eth0",namespace="ns",pod="web"} 3 946684800000`,
			"machine_cpu_cores 2", "machine_memory_bytes 1.073741824e+09",
		} {
			if !strings.Contains(got, "\n"+line+"\n") {
				t.Errorf("%s: no line %s in\n%s", name, line, got)
			}
		}
		for _, absent := range []string{`interface="lo"`, `container="init"`, `container="ending"`, `pod="done"`, `pod="lost"`} {
			if strings.Contains(got, absent) {
				t.Errorf("%s: %s in\n%s", name, absent, got)
			}
		}
	}
}

func TestAPodOnTheNodesNetworkHasNoLinksOfItsOwn(t *testing.T) {
	t.Parallel()
	got := cadvisor(newReader(tree(t, detailed), false), ownNetwork(t, false), node{}, Machine{}, time.Unix(1, 0))
	if strings.Contains(string(got), "container_network") {
		t.Errorf("%s", got)
	}
}

func TestWhatTheKernelDoesNotTellIsAbsent(t *testing.T) {
	t.Parallel()
	files := maps.Clone(detailed)
	delete(files, "pids/app/pids.current")
	files["cpu/app/cpu.stat"] = "unreadable\n"
	got := string(cadvisor(newReader(tree(t, files), false), t.TempDir(), node{}, Machine{}, time.Unix(1, 0)))
	for _, absent := range []string{"container_threads", "container_cpu_cfs_periods_total"} {
		if strings.Contains(got, absent) {
			t.Errorf("%s in\n%s", absent, got)
		}
	}
}

var metricLine = regexp.MustCompile(`^([a-z_]+)(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+( [0-9]+)?$`)

func TestEachMetricIsDescribedOnceAndEachLineIsOne(t *testing.T) {
	t.Parallel()
	described := map[string]bool{}
	for line := range strings.Lines(string(cadvisor(newReader(tree(t, detailed), false), ownNetwork(t, true), node{}, Machine{}, time.Unix(1, 0)))) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if described[name] || kind != "counter" && kind != "gauge" {
				t.Errorf("%q", line)
			}
			described[name] = true
		} else if !strings.HasPrefix(line, "# HELP ") {
			m := metricLine.FindStringSubmatch(line)
			if m == nil || !described[m[1]] {
				t.Errorf("%q", line)
			}
		}
	}
	if len(described) < 25 {
		t.Errorf("described are %v", described)
	}
}
