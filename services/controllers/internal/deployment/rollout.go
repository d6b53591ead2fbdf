package deployment

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"

	"kubus.dev/services/controllers/internal/pod"
)

// roll is one step of a rolling update: the new set grows as far as maxSurge
// allows, or the old ones shrink as far as maxUnavailable allows.
func (p *planner) roll() {
	newest, old := p.revisions(true)
	if p.revert(newest, old) {
		return
	}
	if trying(p.d, newest, old) {
		p.canary(newest, old)
		return
	}
	if c := condition(&p.d.Status, appsv1.DeploymentProgressing); c != nil && c.Reason == reasonCanaryWaits {
		p.restart(newest) // it waits no longer
	}
	all := append(append([]*appsv1.ReplicaSet(nil), old...), newest)
	if !p.growNewest(all, newest) && !p.shrinkOld(all, withPods(old), newest) && complete(p.d, &p.d.Status) {
		p.becomeStable(newest)
		p.cleanup(old)
	}
	p.finishRollout(all, newest)
}

func (p *planner) growNewest(all []*appsv1.ReplicaSet, newest *appsv1.ReplicaSet) bool {
	wish, size := *p.d.Spec.Replicas, *newest.Spec.Replicas
	switch {
	case size == wish:
		return false
	case size > wish:
		return p.scale(newest, wish, false)
	}
	return p.scale(newest, newSize(p.d, all, size), false)
}

// shrinkOld takes away as many old pods as can go: first those that serve nobody,
// then as many available ones as the new set has made up for. Pods of the new
// set that are not available count against both.
func (p *planner) shrinkOld(all, old []*appsv1.ReplicaSet, newest *appsv1.ReplicaSet) bool {
	if wished(old) == 0 || newest.Status.ObservedGeneration < newest.Generation { // what it tells may be of another size
		return false
	}
	atLeast := *p.d.Spec.Replicas - maxUnavailable(p.d)
	missing := *newest.Spec.Replicas - staying(newest)
	most := wished(all) - atLeast - missing
	if most <= 0 {
		return false
	}
	gone, ok := p.shrinkUnhealthy(old, most)
	if !ok {
		return false
	}
	return gone+p.shrinkAvailable(append(append([]*appsv1.ReplicaSet(nil), old...), newest), old, atLeast) > 0
}

// shrinkUnhealthy is not ok when a set reports more available pods than it is
// wished to have: an earlier shrinking is under way, and counting on its pods
// would take away too many.
func (p *planner) shrinkUnhealthy(old []*appsv1.ReplicaSet, most int32) (gone int32, ok bool) {
	for _, set := range old {
		size := *set.Spec.Replicas
		if gone >= most {
			break
		}
		if size == 0 || size == set.Status.AvailableReplicas {
			continue
		}
		n := min(most-gone, size-set.Status.AvailableReplicas)
		if n < 0 {
			return gone, false
		}
		p.scale(set, size-n, false)
		gone += n
	}
	return gone, true
}

// staying is how many of a set's available pods are to stay: one that shrinks, and
// perhaps has just become the newest again, still tells of those that go.
func staying(set *appsv1.ReplicaSet) int32 {
	return min(*set.Spec.Replicas, set.Status.AvailableReplicas)
}

func (p *planner) shrinkAvailable(all, old []*appsv1.ReplicaSet, atLeast int32) int32 {
	most := sum(all, staying) - atLeast
	gone := int32(0)
	for _, set := range old {
		if gone >= most {
			break
		}
		n := min(*set.Spec.Replicas, most-gone)
		if n == 0 {
			continue
		}
		p.scale(set, *set.Spec.Replicas-n, false)
		gone += n
	}
	return gone
}

// recreate: no new pod before the last old one is gone.
func (p *planner) recreate() {
	newest, old := p.revisions(false)
	if newest != nil && p.revert(newest, old) {
		return
	}
	all := append(append([]*appsv1.ReplicaSet(nil), old...), newest)
	shrunk := false
	for _, set := range withPods(old) {
		shrunk = p.scale(set, 0, false) || shrunk
	}
	if shrunk || p.oldPodsRun(newest, old) {
		p.finishRollout(all, newest)
		return
	}
	if newest == nil {
		newest, old = p.revisions(true)
		all = append(append([]*appsv1.ReplicaSet(nil), old...), newest)
	}
	p.scale(newest, *p.d.Spec.Replicas, false)
	if complete(p.d, &p.d.Status) {
		p.becomeStable(newest)
		p.cleanup(old)
	}
	p.finishRollout(all, newest)
}

func (p *planner) oldPodsRun(newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) bool {
	if sum(old, func(set *appsv1.ReplicaSet) int32 { return set.Status.Replicas }) > 0 {
		return true
	}
	for uid, pods := range p.pods {
		if newest != nil && newest.UID == uid {
			continue
		}
		for _, each := range pods {
			if !pod.Terminal(each) {
				return true
			}
		}
	}
	return false
}

func (p *planner) finishRollout(all []*appsv1.ReplicaSet, newest *appsv1.ReplicaSet) {
	status := rolloutStatus(p.d, all, newest, p.now)
	p.finish(status)
	p.out.Again = deadlineCheck(p.d, &status, p.now)
}

// resized: a set with pods was sized for another number of replicas than is wished now.
func (p *planner) resized() bool {
	newest, old := p.revisions(false)
	for _, set := range withPods(append(append([]*appsv1.ReplicaSet(nil), old...), newest)) {
		if desired, ok := size(set, desiredAnnotation); ok && desired != *p.d.Spec.Replicas {
			return true
		}
	}
	return false
}

// resize scales without rolling: the one set with pods, or all in proportion.
func (p *planner) resize() {
	newest, old := p.revisions(false)
	if trying(p.d, newest, old) {
		p.sizeCanary(newest, old)
	} else {
		p.resizeSets(newest, old)
	}
	if p.d.Spec.Paused && rollbackTo(p.d) == nil {
		p.cleanup(old)
	}
	p.finish(statusOf(p.d, append(append([]*appsv1.ReplicaSet(nil), old...), newest), newest, p.now))
}

func (p *planner) resizeSets(newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	all := withPods(append(append([]*appsv1.ReplicaSet(nil), old...), newest))
	if only := onlyActive(newest, old, all); only != nil {
		// Also a set that happens to have the size is noted to be sized: it would seem resized
		// for ever, and nothing would roll.
		p.scale(only, *p.d.Spec.Replicas, true)
		return
	}
	if saturated(p.d, newest) {
		for _, set := range withPods(old) {
			p.scale(set, 0, false)
		}
		return
	}
	if rolling(p.d) && len(all) > 0 {
		p.resizeInProportion(all)
	}
}

// onlyActive is the set with pods if there is but one, or the newest if there is
// none; nil when there are several, or no set at all.
func onlyActive(newest *appsv1.ReplicaSet, old, active []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	switch {
	case len(active) == 1:
		return active[0]
	case len(active) > 1:
		return nil
	case newest != nil:
		return newest
	case len(old) > 0:
		return old[len(old)-1]
	}
	return nil
}

// resizeInProportion spreads the change over all sets with pods, so that scaling
// in the middle of a rollout speeds neither side up.
func (p *planner) resizeInProportion(sets []*appsv1.ReplicaSet) {
	allowed := int32(0)
	if *p.d.Spec.Replicas > 0 {
		allowed = *p.d.Spec.Replicas + maxSurge(p.d)
	}
	toAdd := allowed - wished(sets)
	bySize(sets, toAdd > 0)
	sizes := make([]int32, len(sets))
	added := int32(0)
	for i, set := range sets {
		part := share(p.d, set, toAdd, added)
		sizes[i] = *set.Spec.Replicas + part
		added += part
	}
	if toAdd != 0 { // what rounding left over goes to the largest
		sizes[0] = max(0, sizes[0]+toAdd-added)
	}
	for i, set := range sets {
		p.scale(set, sizes[i], true)
	}
}

// rollbackTo is the revision of the deprecated annotation; nil when there is none.
func rollbackTo(d *appsv1.Deployment) *int64 {
	number, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedRollbackTo], 10, 64)
	if err != nil {
		return nil
	}
	return &number
}

// rollback puts an old template into the deployment's spec and clears the wish.
func (p *planner) rollback(number int64) {
	newest, old := p.revisions(false)
	all := old
	if newest != nil {
		all = append(append([]*appsv1.ReplicaSet(nil), old...), newest)
	}
	// Revisions are written with this very update, so nothing else is planned.
	p.out = plan{Events: p.out.Events}
	p.out.Spec = p.d
	delete(p.d.Annotations, appsv1.DeprecatedRollbackTo)
	if number == 0 {
		if number = lastRevision(all); number == 0 {
			p.note(true, reasonRevisionNotFound, "Unable to find last revision.")
			return
		}
	}
	for _, set := range all {
		if found, ok := revision(set); !ok || found != number {
			continue
		}
		if sameTemplate(&p.d.Spec.Template, &set.Spec.Template) {
			p.note(true, reasonTemplateUnchanged, fmt.Sprintf("The rollback revision contains the same template as current deployment %q", p.d.Name))
			return
		}
		p.d.Spec.Template = *set.Spec.Template.DeepCopy()
		delete(p.d.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		p.d.Annotations = restored(p.d.Annotations, set.Annotations)
		p.note(false, reasonRollback, fmt.Sprintf("Rolled back deployment %q to revision %d", p.d.Name, number))
		return
	}
	p.note(true, reasonRevisionNotFound, "Unable to find the revision to rollback to.")
}

// restored are the deployment's own annotations with the set's for the rest, so
// that a change cause goes back together with its template.
func restored(deployment, set map[string]string) map[string]string {
	all := map[string]string{}
	for key, value := range deployment {
		if ownAnnotations[key] {
			all[key] = value
		}
	}
	for key, value := range set {
		if !ownAnnotations[key] {
			all[key] = value
		}
	}
	return all
}
