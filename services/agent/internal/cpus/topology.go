package cpus

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/utils/cpuset"
)

// CPU is where one logical processor is.
type CPU struct {
	ID     int
	Core   int // unique on the machine, unlike the kernel's
	Socket int
	Node   int // NUMA
}

// Topology is the machine's processors that are online, by their numbers.
type Topology map[int]CPU

// Set is all of them.
func (t Topology) Set() cpuset.CPUSet {
	ids := make([]int, 0, len(t))
	for id := range t {
		ids = append(ids, id)
	}
	return cpuset.New(ids...)
}

// ReadTopology reads it below a sysfs, usually /sys.
func ReadTopology(sys string) (Topology, error) {
	online, err := list(filepath.Join(sys, "devices/system/cpu/online"))
	if err != nil {
		return nil, fmt.Errorf("reading the machine's CPUs: %w", err)
	}
	t := Topology{}
	type core struct{ socket, core int }
	cores := map[core]int{} // the kernel counts anew in each socket
	for _, id := range online.List() {
		dir := filepath.Join(sys, "devices/system/cpu", "cpu"+strconv.Itoa(id), "topology")
		socket, err := number(filepath.Join(dir, "physical_package_id"))
		if err != nil {
			return nil, fmt.Errorf("reading the machine's CPUs: %w", err)
		}
		number, err := number(filepath.Join(dir, "core_id"))
		if err != nil {
			return nil, fmt.Errorf("reading the machine's CPUs: %w", err)
		}
		key := core{socket, number}
		if _, ok := cores[key]; !ok {
			cores[key] = len(cores)
		}
		t[id] = CPU{ID: id, Core: cores[key], Socket: socket}
	}
	nodes, err := list(filepath.Join(sys, "devices/system/node/online"))
	if errors.Is(err, os.ErrNotExist) { // a kernel without NUMA: one node
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the machine's NUMA nodes: %w", err)
	}
	for _, node := range nodes.List() {
		members, err := list(filepath.Join(sys, "devices/system/node", "node"+strconv.Itoa(node), "cpulist"))
		if err != nil {
			return nil, fmt.Errorf("reading the machine's NUMA nodes: %w", err)
		}
		for _, id := range members.List() {
			if c, ok := t[id]; ok {
				c.Node = node
				t[id] = c
			}
		}
	}
	return t, nil
}

func list(file string) (cpuset.CPUSet, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return cpuset.CPUSet{}, err
	}
	return cpuset.Parse(strings.TrimSpace(string(data)))
}

func number(file string) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}
