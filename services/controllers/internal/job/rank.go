package job

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	podpkg "kubus.dev/services/controllers/internal/pod"
)

// surplus chooses at least the given number of active pods to remove. Of an indexed
// job all go that have no valid index, and all but the most advanced of each index.
func surplus(active []*corev1.Pod, atLeast int, isIndexed bool, completions int) []*corev1.Pod {
	var remove, rest []*corev1.Pod
	ranked := slices.Clone(active)
	slices.SortStableFunc(ranked, lessAdvanced)
	if isIndexed {
		best := map[int]*corev1.Pod{}
		for _, p := range ranked {
			best[indexOf(p)] = p
		}
		for _, p := range ranked {
			if index := indexOf(p); index == noIndex || index >= completions || best[index] != p {
				remove = append(remove, p)
			} else {
				rest = append(rest, p)
			}
		}
	} else {
		rest = ranked
	}
	if missing := atLeast - len(remove); missing > 0 {
		remove = append(remove, rest[:min(missing, len(rest))]...)
	}
	return remove
}

var phases = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

// lessAdvanced orders active pods as upstream's ActivePods does: those whose removal
// costs least come first.
func lessAdvanced(a, b *corev1.Pod) int {
	aSince, aReady := podpkg.ReadySince(a)
	bSince, bReady := podpkg.ReadySince(b)
	order := cmp.Or(
		falseFirst(a.Spec.NodeName != "", b.Spec.NodeName != ""),
		cmp.Compare(phases[a.Status.Phase], phases[b.Status.Phase]),
		falseFirst(aReady, bReady),
	)
	if order == 0 && aReady && bReady {
		order = youngerFirst(aSince, bSince)
	}
	aRegular, aSidecar := podpkg.Restarts(a)
	bRegular, bSidecar := podpkg.Restarts(b)
	return cmp.Or(order,
		cmp.Compare(bRegular, aRegular),
		cmp.Compare(bSidecar, aSidecar),
		youngerFirst(a.CreationTimestamp.Time, b.CreationTimestamp.Time))
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// youngerFirst puts a time that is not known before all.
func youngerFirst(a, b time.Time) int {
	if a.IsZero() || b.IsZero() {
		return falseFirst(!a.IsZero(), !b.IsZero())
	}
	return b.Compare(a)
}
