package cpus

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/utils/cpuset"
)

// machine has sockets × nodes of each × cores of each × threads, numbered as Linux does: first threads of all cores first.
func machine(sockets, nodes, cores, threads int) Topology {
	t := Topology{}
	total := sockets * nodes * cores
	for thread := range threads {
		for core := range total {
			id := thread*total + core
			t[id] = CPU{ID: id, Core: core, Socket: core / (nodes * cores), Node: core / cores}
		}
	}
	return t
}

func TestTake(t *testing.T) {
	t.Parallel()
	two := machine(2, 1, 4, 2) // socket 0: 0-3 8-11, socket 1: 4-7 12-15; core k: k, k+8
	for name, c := range map[string]struct {
		topology  Topology
		available string
		n         int
		want, err string
	}{
		"a whole core":                      {two, "0-15", 2, "0,8", ""},
		"one of a core":                     {two, "0-15", 1, "0", ""},
		"the rest of a core before another": {two, "0-7,9-15", 1, "0", ""},
		"a whole socket":                    {two, "0-15", 8, "0-3,8-11", ""},
		"the socket that is whole":          {two, "1-15", 8, "4-7,12-15", ""},
		"cores where least is left":         {two, "0-5,8-13", 2, "4,12", ""},
		"no whole core is broken for one":   {two, "0-2,8-10,4", 1, "4", ""},
		"what there is":                     {two, "0,4,9", 3, "0,4,9", ""},
		"a core and one more of the socket": {two, "0-15", 3, "0-1,8", ""},
		"a socket and one of the other":     {two, "0-15", 9, "0-4,8-11", ""},
		"a whole NUMA node":                 {machine(1, 2, 2, 1), "0-3", 2, "0-1", ""},
		"the node that is whole":            {machine(1, 2, 2, 1), "1-3", 2, "2-3", ""},
		"none":                              {two, "0-15", 0, "", ""},
		"too few":                           {two, "0-2", 4, "", "not enough cpus available to satisfy request: requested=4, available=3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			available, err := cpuset.Parse(c.available)
			if err != nil {
				t.Fatal(err)
			}
			got, err := take(c.topology, available, c.n)
			if err != nil {
				if err.Error() != c.err {
					t.Errorf("%v", err)
				}
				return
			}
			if got.String() != c.want || c.err != "" {
				t.Errorf("%d of %s: got %s, want %s %s", c.n, c.available, got, c.want, c.err)
			}
		})
	}
}

func TestTheTopologyIsReadAsTheKernelShowsIt(t *testing.T) {
	t.Parallel()
	sys := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("devices/system/cpu/online", "0-2")
	for cpu, at := range map[string][2]string{"0": {"0", "0"}, "1": {"0", "1"}, "2": {"1", "0"}} {
		write("devices/system/cpu/cpu"+cpu+"/topology/physical_package_id", at[0])
		write("devices/system/cpu/cpu"+cpu+"/topology/core_id", at[1])
	}
	got, err := ReadTopology(sys)
	if err != nil || got[2] != (CPU{ID: 2, Core: 2, Socket: 1}) || got[1].Core == got[0].Core {
		t.Errorf("without NUMA: %v, %v", got, err)
	}
	write("devices/system/node/online", "0-1")
	write("devices/system/node/node0/cpulist", "0-1,3")
	write("devices/system/node/node1/cpulist", "2")
	got, err = ReadTopology(sys)
	if err != nil || len(got) != 3 || got[2] != (CPU{ID: 2, Core: 2, Socket: 1, Node: 1}) || got[0].Node != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ReadTopology(filepath.Join(sys, "none")); err == nil {
		t.Error("a machine without CPUs")
	}
}
