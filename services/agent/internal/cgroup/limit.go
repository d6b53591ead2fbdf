package cgroup

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Limits of a group, one pod's or all pods'; zero leaves the kernel's default.
type Limits struct {
	CPUShares   uint64
	CPUQuota    int64
	CPUPeriod   uint64
	MemoryLimit int64
	PidsLimit   int64
}

// Limit makes the group and sets its limits.
func Limit(path string, l Limits) error {
	if V2() {
		return limitV2(Root, path, l)
	}
	return limitV1(Root, path, l)
}

func limitV1(root, path string, l Limits) error {
	files := map[string]string{}
	if l.CPUShares > 0 {
		files["cpu/cpu.shares"] = strconv.FormatUint(l.CPUShares, 10)
	}
	if l.CPUQuota != 0 {
		files["cpu/cpu.cfs_period_us"] = strconv.FormatUint(period(l), 10)
		files["cpu/cpu.cfs_quota_us"] = strconv.FormatInt(l.CPUQuota, 10)
	}
	if l.MemoryLimit > 0 {
		files["memory/memory.limit_in_bytes"] = strconv.FormatInt(l.MemoryLimit, 10)
	}
	if l.PidsLimit > 0 {
		files["pids/pids.max"] = strconv.FormatInt(l.PidsLimit, 10)
	}
	for name, value := range files {
		controller, file := filepath.Split(name)
		dir := filepath.Join(root, controller, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if file == "memory.limit_in_bytes" { // kernels before 5.11 may not count what is below
			_ = os.WriteFile(filepath.Join(dir, "memory.use_hierarchy"), []byte("1"), 0)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0); err != nil {
			return err
		}
	}
	return nil
}

func limitV2(root, path string, l Limits) error {
	dir := filepath.Join(root, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	at := root
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		for _, c := range []string{"+cpu", "+memory", "+pids", "+cpuset"} {
			_ = os.WriteFile(filepath.Join(at, "cgroup.subtree_control"), []byte(c), 0) // a missing controller shows below
		}
		at = filepath.Join(at, part)
	}
	var errs error
	write := func(file, value string) {
		errs = errors.Join(errs, os.WriteFile(filepath.Join(dir, file), []byte(value), 0))
	}
	if l.CPUShares > 0 {
		write("cpu.weight", strconv.FormatUint(weight(l.CPUShares), 10))
	}
	if l.CPUQuota > 0 {
		write("cpu.max", strconv.FormatInt(l.CPUQuota, 10)+" "+strconv.FormatUint(period(l), 10))
	}
	if l.MemoryLimit > 0 {
		write("memory.max", strconv.FormatInt(l.MemoryLimit, 10))
	}
	if l.PidsLimit > 0 {
		write("pids.max", strconv.FormatInt(l.PidsLimit, 10))
	}
	return errs
}

func period(l Limits) uint64 {
	if l.CPUPeriod == 0 {
		return 100000
	}
	return l.CPUPeriod
}

// weight converts shares, 2 to 262144, to the weight of v2, 1 to 10000, as runc does for containers: the defaults of
// both, 1024 and 100, meet.
func weight(shares uint64) uint64 {
	switch {
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}
