package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Resize gives a group that exists the CPU and memory limits of l; a zero quota or memory limit is none, zero shares
// stay as they are. Who lowers memory below what the group uses is refused on v1 (EBUSY), and on v2 makes the kernel
// kill: see MemoryUsed.
func Resize(path string, l Limits) error {
	if V2() {
		return resizeV2(Root, path, l)
	}
	return resizeV1(Root, path, l)
}

// Place sets the CPUs that the processes of a group that exists may run on.
func Place(path, cpus string) error { return set(placeDir(Root, path, V2()), "cpuset.cpus", cpus) }

func placeDir(root, path string, v2 bool) string {
	if v2 {
		return filepath.Join(root, path)
	}
	return filepath.Join(root, "cpuset", path)
}

// MemoryUsed is what the group and those below it have charged, in bytes.
func MemoryUsed(path string) (int64, error) {
	if V2() {
		return number(filepath.Join(Root, path, "memory.current"))
	}
	return number(filepath.Join(Root, "memory", path, "memory.usage_in_bytes"))
}

func number(file string) (int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

func resizeV1(root, path string, l Limits) error {
	cpu, memory := filepath.Join(root, "cpu", path), filepath.Join(root, "memory", path)
	if l.CPUShares > 0 {
		if err := set(cpu, "cpu.shares", strconv.FormatUint(l.CPUShares, 10)); err != nil {
			return err
		}
	}
	quota := int64(-1)
	if l.CPUQuota > 0 {
		quota = l.CPUQuota
		if err := set(cpu, "cpu.cfs_period_us", strconv.FormatUint(period(l), 10)); err != nil {
			return err
		}
	}
	if err := set(cpu, "cpu.cfs_quota_us", strconv.FormatInt(quota, 10)); err != nil {
		return err
	}
	limit := int64(-1)
	if l.MemoryLimit > 0 {
		limit = l.MemoryLimit
	}
	return memoryV1(memory, limit)
}

// memoryV1 sets the limit, and that of memory with swap to the same where the group has one: never below the first.
func memoryV1(dir string, limit int64) error {
	value := strconv.FormatInt(limit, 10)
	const both = "memory.memsw.limit_in_bytes"
	had, err := number(filepath.Join(dir, both))
	if errors.Is(err, os.ErrNotExist) {
		return set(dir, "memory.limit_in_bytes", value)
	}
	if err != nil {
		return err
	}
	first, second := "memory.limit_in_bytes", both
	if limit < 0 || limit > had {
		first, second = second, first
	}
	if err := set(dir, first, value); err != nil {
		return err
	}
	return set(dir, second, value)
}

func resizeV2(root, path string, l Limits) error {
	dir := filepath.Join(root, path)
	if l.CPUShares > 0 {
		if err := set(dir, "cpu.weight", strconv.FormatUint(weight(l.CPUShares), 10)); err != nil {
			return err
		}
	}
	quota, memory, swap := "max", "max", "max"
	if l.CPUQuota > 0 {
		quota = strconv.FormatInt(l.CPUQuota, 10)
	}
	if err := set(dir, "cpu.max", quota+" "+strconv.FormatUint(period(l), 10)); err != nil {
		return err
	}
	if l.MemoryLimit > 0 {
		memory, swap = strconv.FormatInt(l.MemoryLimit, 10), "0"
	}
	if err := set(dir, "memory.max", memory); err != nil {
		return err
	}
	if err := set(dir, "memory.swap.max", swap); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// set writes a file of a group; it makes none.
func set(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
