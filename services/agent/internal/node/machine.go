package node

import (
	"bufio"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/eviction"
	"kubus.dev/services/agent/internal/hugepage"
)

// Machine is what the node runs on.
type Machine struct {
	CPUs        int
	MemoryBytes int64
	DiskBytes   int64 // of the file system that holds the data folder
	Kernel      string
	OSImage     string
	MachineID   string
	BootID      string
	Swap        int64
	PIDs        int64           // threads that there can be
	HugePages   map[int64]int64 // set aside, by size in bytes
}

// ReadMachine looks at the machine. dataDir tells which disk counts.
func ReadMachine(dataDir string) (Machine, error) {
	m := Machine{CPUs: goruntime.NumCPU(), HugePages: hugepage.Pools()}
	info, err := meminfo()
	if err != nil {
		return m, err
	}
	m.MemoryBytes, m.Swap = info["MemTotal"], info["SwapTotal"]
	var fs unix.Statfs_t
	if err := unix.Statfs(dataDir, &fs); err != nil {
		return m, fmt.Errorf("looking at the disk of %s: %w", dataDir, err)
	}
	m.DiskBytes = int64(fs.Blocks) * fs.Bsize
	for _, file := range []string{"pid_max", "threads-max"} {
		most, err := strconv.ParseInt(line("/proc/sys/kernel/"+file), 10, 64)
		if err != nil {
			return m, fmt.Errorf("reading kernel.%s: %w", file, err)
		}
		if m.PIDs == 0 || most < m.PIDs {
			m.PIDs = most
		}
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return m, fmt.Errorf("reading the kernel's version: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(uts.Release[:])
	m.OSImage = osImage()
	m.MachineID = line("/etc/machine-id")
	m.BootID = line("/proc/sys/kernel/random/boot_id")
	return m, nil
}

// meminfo gives /proc/meminfo in bytes.
func meminfo() (map[string]int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return nil, fmt.Errorf("reading the memory's size: %w", err)
	}
	defer func() { _ = f.Close() }()
	out := map[string]int64{}
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 {
			continue
		}
		if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			out[strings.TrimSuffix(fields[0], ":")] = n << 10
		}
	}
	if out["MemTotal"] == 0 {
		return nil, fmt.Errorf("reading the memory's size: /proc/meminfo does not say")
	}
	return out, nil
}

func osImage() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for l := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(l), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return "Linux"
}

// line reads a one-line file; "" when it is not there.
func line(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// Pressure is what the machine is short of.
type Pressure struct {
	Memory, Disk, PIDs bool
}

// Supplies is how much the machine has, and has left, of what pods can be evicted for: memory
// that programs can get without swapping, the disk of dataDir, and process ids.
func Supplies(dataDir string) eviction.Observations {
	out := eviction.Observations{}
	if info, err := meminfo(); err == nil {
		out[eviction.MemoryAvailable] = eviction.Observation{Capacity: info["MemTotal"], Available: info["MemAvailable"]}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dataDir, &fs); err == nil {
		out[eviction.NodeFsAvailable] = eviction.Observation{Capacity: int64(fs.Blocks) * fs.Bsize, Available: int64(fs.Bavail) * fs.Bsize}
		out[eviction.NodeFsInodesFree] = eviction.Observation{Capacity: int64(fs.Files), Available: int64(fs.Ffree)}
	}
	if o, ok := processIDs(line("/proc/sys/kernel/pid_max"), line("/proc/sys/kernel/threads-max"), line("/proc/loadavg")); ok {
		out[eviction.PIDAvailable] = o
	}
	return out
}

// processIDs is how many tasks there may be, which the lesser of two files says, and how many more
// there can be: the fourth field of loadavg names those that run and those that there are.
func processIDs(pidMax, threadsMax, loadavg string) (eviction.Observation, bool) {
	ids, err := strconv.ParseInt(pidMax, 10, 64)
	if err != nil {
		return eviction.Observation{}, false
	}
	if threads, err := strconv.ParseInt(threadsMax, 10, 64); err == nil {
		ids = min(ids, threads)
	}
	_, tasks, _ := strings.Cut(loadavg, "/")
	count, _, _ := strings.Cut(tasks, " ")
	n, err := strconv.ParseInt(count, 10, 64)
	return eviction.Observation{Capacity: ids, Available: ids - n}, err == nil
}
