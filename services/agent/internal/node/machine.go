package node

import (
	"bufio"
	"fmt"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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
	PIDs        int64 // threads that there can be
}

// ReadMachine looks at the machine. dataDir tells which disk counts.
func ReadMachine(dataDir string) (Machine, error) {
	m := Machine{CPUs: goruntime.NumCPU()}
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

// Thresholds below which a node is under pressure, as kubelet's hard eviction defaults.
const (
	memoryFloor   = 100 << 20
	diskFloor     = 0.10 // of the disk, free
	pidsFloorPart = 0.05
)

// ReadPressure looks at the machine.
func ReadPressure(dataDir string) Pressure {
	var p Pressure
	if info, err := meminfo(); err == nil {
		p.Memory = info["MemAvailable"] < memoryFloor
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dataDir, &fs); err == nil && fs.Blocks > 0 {
		p.Disk = float64(fs.Bavail)/float64(fs.Blocks) < diskFloor
	}
	most, err := strconv.ParseFloat(line("/proc/sys/kernel/pid_max"), 64)
	if err == nil && most > 0 {
		if _, tasks, ok := strings.Cut(line("/proc/loadavg"), "/"); ok {
			n, _, _ := strings.Cut(tasks, " ")
			if used, err := strconv.ParseFloat(n, 64); err == nil {
				p.PIDs = (most-used)/most < pidsFloorPart
			}
		}
	}
	return p
}
