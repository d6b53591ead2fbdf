package daemonset

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// surges: the set may have two pods on a node.
func surges(set *appsv1.DaemonSet) bool { return maxSurge(set, 1) > 0 }

// maxSurge of so many nodes, rounded up.
func maxSurge(set *appsv1.DaemonSet, nodes int) int {
	if rolling := rollingUpdate(set); rolling != nil && rolling.MaxSurge != nil {
		return scaled(rolling.MaxSurge, nodes)
	}
	return 0
}

// maxUnavailable of so many nodes, rounded up.
func maxUnavailable(set *appsv1.DaemonSet, nodes int) int {
	if rolling := rollingUpdate(set); rolling != nil && rolling.MaxUnavailable != nil {
		return scaled(rolling.MaxUnavailable, nodes)
	}
	return 0
}

func rollingUpdate(set *appsv1.DaemonSet) *appsv1.RollingUpdateDaemonSet {
	if set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return nil
	}
	return set.Spec.UpdateStrategy.RollingUpdate
}

func scaled(value *intstr.IntOrString, nodes int) int {
	n, _ := intstr.GetScaledValueFromIntOrPercent(value, nodes, true) // validation keeps malformed values out
	return n
}

// roll plans the next step of a rolling update.
func (p *planner) roll() {
	desired := 0
	nodes := slices.Collect(maps.Keys(p.pods))
	for _, name := range p.names {
		if run, _ := p.place.on(p.byName[name]); run {
			desired++
			if len(p.pods[name]) == 0 {
				nodes = append(nodes, name)
			}
		}
	}
	slices.Sort(nodes)
	surge, unavailable := maxSurge(p.Set, desired), maxUnavailable(p.Set, desired)
	if surge == 0 {
		if unavailable == 0 { // which would stand still
			unavailable = 1
		}
		p.replace(nodes, unavailable)
		return
	}
	p.surge(nodes, surge, desired)
}

// pair are the one new and the one old pod of a node; ok is false where there are
// more, which manage prunes.
func (p *planner) pair(node string) (fresh, old *corev1.Pod, ok bool) {
	for _, each := range p.pods[node] {
		if each.DeletionTimestamp != nil {
			continue
		}
		slot := &old
		if updated(p.Set, p.Hash, each) {
			slot = &fresh
		}
		if *slot != nil {
			return nil, nil, false
		}
		*slot = each
	}
	return fresh, old, true
}

// replace deletes old pods; manage makes the new ones. Old pods that are not
// available cost nothing; of the others so many go that no more than most nodes are
// without an available pod.
func (p *planner) replace(nodes []string, most int) {
	var candidates []*corev1.Pod
	for _, node := range nodes {
		fresh, old, ok := p.pair(node)
		switch {
		case !ok, (fresh == nil) == (old == nil):
			most--
		case fresh != nil:
			if !p.available(fresh) {
				most--
			}
		case !p.available(old):
			p.remove(old)
			most--
		default:
			candidates = append(candidates, old)
		}
	}
	p.remove(candidates[:min(len(candidates), max(most, 0))]...)
}

// surge makes new pods beside old ones, at most so many beside available ones, and
// deletes an old one when its new one is available. Pods on nodes that are not
// wished any more go when there are enough others.
func (p *planner) surge(nodes []string, most, desired int) {
	var candidates []string
	var strays []*corev1.Pod
	available := 0
	for _, node := range nodes {
		fresh, old, ok := p.pair(node)
		if !ok {
			most--
			continue
		}
		if served := old; served != nil || fresh != nil {
			if served == nil {
				served = fresh
			}
			if p.available(served) {
				available++
			}
		}
		switch {
		case old == nil:
		case fresh != nil && p.available(fresh):
			p.remove(old)
		case fresh != nil:
			most--
		case p.wanted(node) && p.available(old):
			candidates = append(candidates, node)
		case p.wanted(node):
			p.out.Create = append(p.out.Create, node)
		case p.available(old):
			strays = append(strays, old)
		default:
			p.remove(old)
		}
	}
	p.remove(strays[:min(len(strays), max(available-desired, 0))]...)
	p.out.Create = append(p.out.Create, candidates[:min(len(candidates), max(most, 0))]...)
}

// wanted: the node should run a pod. One that is gone should not.
func (p *planner) wanted(name string) bool {
	node := p.byName[name]
	if node == nil {
		return false
	}
	run, _ := p.place.on(node)
	return run
}
