package cpus

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/utils/cpuset"
)

// take chooses n of the available CPUs so that they are near each other and leave what others may want whole: whole
// sockets, then whole NUMA nodes, then whole cores, then single ones. Of equals it takes those where least is left, then
// those of the lowest numbers. Source: the packed policy of pkg/kubelet/cm/cpumanager.
func take(t Topology, available cpuset.CPUSet, n int) (cpuset.CPUSet, error) {
	if available.Size() < n {
		return cpuset.CPUSet{}, fmt.Errorf("not enough cpus available to satisfy request: requested=%d, available=%d", n, available.Size())
	}
	taken := cpuset.New()
	for _, part := range []func(CPU) int{socketOf, nodeOf, coreOf} {
		for _, whole := range wholes(t, available, part) {
			if whole.Size() <= n-taken.Size() {
				taken, available = taken.Union(whole), available.Difference(whole)
			}
		}
	}
	for taken.Size() < n {
		one := cpuset.New(single(t, available, taken))
		taken, available = taken.Union(one), available.Difference(one)
	}
	return taken, nil
}

func socketOf(c CPU) int { return c.Socket }
func nodeOf(c CPU) int   { return c.Node }
func coreOf(c CPU) int   { return c.Core }

// wholes lists the parts of which everything is available, those first in whose sockets least is.
func wholes(t Topology, available cpuset.CPUSet, part func(CPU) int) (out []cpuset.CPUSet) {
	all := map[int][]int{}
	for id, c := range t {
		all[part(c)] = append(all[part(c)], id)
	}
	for _, ids := range all {
		if whole := cpuset.New(ids...); whole.IsSubsetOf(available) {
			out = append(out, whole)
		}
	}
	free := count(t, available, socketOf)
	slices.SortFunc(out, func(a, b cpuset.CPUSet) int {
		x, y := a.List()[0], b.List()[0]
		return cmp.Or(cmp.Compare(free[t[x].Socket], free[t[y].Socket]), cmp.Compare(x, y))
	})
	return out
}

// single is the next CPU where no whole core is to be taken: in a socket of which some are taken, then where least is left.
func single(t Topology, available, taken cpuset.CPUSet) int {
	inSocket, inCore, mine := count(t, available, socketOf), count(t, available, coreOf), count(t, taken, socketOf)
	return slices.MinFunc(available.List(), func(a, b int) int {
		x, y := t[a], t[b]
		return cmp.Or(cmp.Compare(min(mine[y.Socket], 1), min(mine[x.Socket], 1)), cmp.Compare(inSocket[x.Socket], inSocket[y.Socket]),
			cmp.Compare(inCore[x.Core], inCore[y.Core]), cmp.Compare(a, b))
	})
}

func count(t Topology, set cpuset.CPUSet, part func(CPU) int) map[int]int {
	out := map[int]int{}
	for _, id := range set.UnsortedList() {
		out[part(t[id])]++
	}
	return out
}
