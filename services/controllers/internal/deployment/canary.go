package deployment

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What a deployment may ask for beyond upstream; docs/canary.md is for users.
const (
	canaryReplicas    = "canary.kubus.dev/replicas"     // how many pods, or percent of the replicas, try a new template first
	canaryPromote     = "canary.kubus.dev/promote"      // "true", or the hash of the template that is meant; taken away when it is done
	canaryAutoPromote = "canary.kubus.dev/auto-promote" // "true": as soon as all canaries are available
	canaryAutoRevert  = "canary.kubus.dev/auto-revert"  // "true": a rollout that makes no progress goes back

	// canaryState is on replica sets: what is known of their template.
	//
	//	canary --promoted by wish, or by itself--> promoted --complete--> stable
	//	   |                                          |
	//	   +--no progress, and it may be reverted-----+--> failed --wished again--> canary
	//
	// A set without one is from before the deployment asked for any of this.
	canaryState = "canary.kubus.dev/state"

	stateCanary   = "canary"
	statePromoted = "promoted"
	stateStable   = "stable"
	stateFailed   = "failed"
)

const (
	reasonCanaryWaits    = "CanaryAwaitsPromotion" // of the condition Progressing, with status True
	reasonCanaryPromoted = "CanaryPromoted"
	reasonCanaryMissing  = "CanaryNotFound"
	reasonCanaryInvalid  = "InvalidCanary"
)

func state(set *appsv1.ReplicaSet) string { return set.Annotations[canaryState] }

func says(d *appsv1.Deployment, annotation string) bool { return d.Annotations[annotation] == "true" }

// opted: the deployment asks for canaries or for going back by itself.
func opted(d *appsv1.Deployment) bool {
	return d.Annotations[canaryReplicas] != "" || says(d, canaryAutoRevert)
}

// canaries is how many pods try a new template before it is promoted; zero: it is
// rolled out at once. Percentages are rounded up, as maxSurge is. What cannot be read
// is one canary: a slip of the pen rolls nothing out everywhere.
func canaries(d *appsv1.Deployment) (int32, error) {
	text := d.Annotations[canaryReplicas]
	if text == "" || !rolling(d) {
		return 0, nil
	}
	value := intstr.Parse(text)
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, int(*d.Spec.Replicas), true)
	if err != nil || n < 0 {
		return min(1, *d.Spec.Replicas), fmt.Errorf("%s: %q is no number of pods and no percentage", canaryReplicas, text)
	}
	return min(int32(n), *d.Spec.Replicas), nil
}

// setState notes what is known of a set's template.
func (p *planner) setState(set *appsv1.ReplicaSet, to string) {
	if state(set) == to {
		return
	}
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	set.Annotations[canaryState] = to
	p.update(set)
}

// begin is the size of the set that is about to be created, and what is known of it.
func (p *planner) begin(old []*appsv1.ReplicaSet) (replicas int32, state string) {
	replicas = newSize(p.d, old, 0)
	n, err := canaries(p.d)
	if err != nil {
		p.note(true, reasonCanaryInvalid, err.Error())
	}
	switch {
	case n > 0 && wished(trusted(old)) > 0:
		return n, stateCanary
	case opted(p.d):
		return replicas, statePromoted
	}
	return replicas, ""
}

// trusted are the sets whose templates were not only tried.
func trusted(sets []*appsv1.ReplicaSet) (all []*appsv1.ReplicaSet) {
	for _, set := range sets {
		if state(set) != stateCanary && state(set) != stateFailed {
			all = append(all, set)
		}
	}
	return all
}

// base is the set that serves while a newer template is tried, and whose template comes
// back when that fails: a stable one with pods, or else one from before anything was
// asked for that has pods, or else a stable one, or else one that has pods; of several
// the newest.
func base(old []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	rank := func(set *appsv1.ReplicaSet) int {
		stable, serves := state(set) == stateStable, *set.Spec.Replicas > 0
		switch {
		case stable && serves:
			return 4
		case state(set) == "" && serves:
			return 3
		case stable:
			return 2
		case serves:
			return 1
		}
		return 0
	}
	var best *appsv1.ReplicaSet
	for _, set := range trusted(old) {
		if set.DeletionTimestamp != nil {
			continue
		}
		number, _ := revision(set)
		if best != nil {
			most, _ := revision(best)
			if rank(set) < rank(best) || rank(set) == rank(best) && number < most {
				continue
			}
		}
		best = set
	}
	return best
}

// trying: the present template is tried by canaries, and not promoted.
func trying(d *appsv1.Deployment, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) bool {
	if newest == nil || d.Annotations[canaryReplicas] == "" || !rolling(d) || base(old) == nil {
		return false
	}
	n, _ := canaries(d)
	return (n > 0 || *d.Spec.Replicas == 0) && (state(newest) == stateCanary || state(newest) == stateFailed)
}

// onCanary is trying for the sets there are.
func (p *planner) onCanary() bool {
	newest, old := split(p.d, p.sets)
	return trying(p.d, newest, old)
}

// canary is one look at a template that is tried: its canaries, the sets beside them,
// and whether it may go on.
func (p *planner) canary(newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	if state(newest) == stateFailed { // it is wished again
		p.setState(newest, stateCanary)
		p.restart(newest)
	}
	p.sizeCanary(newest, old)
	all := append(append([]*appsv1.ReplicaSet(nil), old...), newest)
	well := p.canariesAvailable(newest)
	if well && p.promotion(newest) {
		p.promote(newest)
		return
	}
	status := rolloutStatus(p.d, all, newest, p.now)
	current := condition(&p.d.Status, appsv1.DeploymentProgressing)
	switch {
	case !hasDeadline(p.d):
	case well && *p.d.Spec.Replicas > 0:
		message := fmt.Sprintf("ReplicaSet %q has all %d canaries available; %s=true on the deployment promotes it.", newest.Name, *newest.Spec.Replicas, canaryPromote)
		setCondition(&status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonCanaryWaits, message, p.now))
	case current != nil && current.Reason == reasonCanaryWaits: // a canary is not available any more: its time runs again
		setCondition(&status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonSetUpdated, fmt.Sprintf("ReplicaSet %q is progressing.", newest.Name), p.now))
	}
	p.finish(status)
	p.out.Again = deadlineCheck(p.d, &status, p.now)
}

// restart has the deadline run from now on.
func (p *planner) restart(set *appsv1.ReplicaSet) {
	if hasDeadline(p.d) {
		removeCondition(&p.d.Status, appsv1.DeploymentProgressing)
		setCondition(&p.d.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonSetUpdated, fmt.Sprintf("ReplicaSet %q is progressing.", set.Name), p.now))
	}
}

// sizeCanary keeps the canaries at their number and the trusted sets together at the
// deployment's, whatever that is by now. Other templates that were tried go.
func (p *planner) sizeCanary(newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	n, _ := canaries(p.d)
	p.scale(newest, n, true)
	serving := base(old)
	rest := *p.d.Spec.Replicas
	for _, set := range old {
		switch {
		case state(set) == stateCanary || state(set) == stateFailed:
			p.scale(set, 0, false)
		case set != serving:
			size := min(*set.Spec.Replicas, rest)
			if *set.Spec.Replicas > 0 {
				p.scale(set, size, true)
			}
			rest -= size
		}
	}
	p.scale(serving, rest, true)
}

func (p *planner) canariesAvailable(newest *appsv1.ReplicaSet) bool {
	n, _ := canaries(p.d)
	return newest != p.out.Create && *newest.Spec.Replicas == n && newest.Status.AvailableReplicas >= n && newest.Status.ObservedGeneration >= newest.Generation
}

// promotion: somebody, or the deployment itself, wants the canaries' template everywhere.
func (p *planner) promotion(newest *appsv1.ReplicaSet) bool {
	wish := p.d.Annotations[canaryPromote]
	return *p.d.Spec.Replicas > 0 && (says(p.d, canaryAutoPromote) || wish == "true" || wish != "" && wish == newest.Labels[appsv1.DefaultDeploymentUniqueLabelKey])
}

// promote lets the template roll out from the next look on.
func (p *planner) promote(newest *appsv1.ReplicaSet) {
	p.setState(newest, statePromoted)
	p.note(false, reasonCanaryPromoted, fmt.Sprintf("Promoted replica set %s", newest.Name))
	if _, wished := p.d.Annotations[canaryPromote]; wished {
		delete(p.d.Annotations, canaryPromote)
		p.out.Spec = p.d
		return // the status follows with the next look: a write of it would not build on this one
	}
	p.restart(newest)
	p.finish(p.d.Status)
}

// dropWish takes away a wish to promote what is not there to be promoted, so that it
// does not promote the next template unseen.
func (p *planner) dropWish() bool {
	wish, found := p.d.Annotations[canaryPromote]
	if !found || p.onCanary() && (wish == "true" || p.meant(wish)) {
		return false
	}
	if newest, _ := split(p.d, p.sets); newest == nil || state(newest) != statePromoted {
		p.note(true, reasonCanaryMissing, fmt.Sprintf("There is no canary that %s=%q could mean", canaryPromote, wish))
	}
	delete(p.d.Annotations, canaryPromote)
	p.out.Spec = p.d
	return true
}

func (p *planner) meant(hash string) bool {
	newest, _ := split(p.d, p.sets)
	return newest != nil && newest.Labels[appsv1.DefaultDeploymentUniqueLabelKey] == hash
}

// revert goes back to the template that served before when the present one has made no
// progress for too long. A template that was complete once is not given up: what made
// it fail now is something else. A deadline that another template has missed counts
// for nothing.
func (p *planner) revert(newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) bool {
	c := condition(&p.d.Status, appsv1.DeploymentProgressing)
	if !says(p.d, canaryAutoRevert) || c == nil || c.Reason != reasonTimedOut || newest == p.out.Create {
		return false
	}
	if c.Message != timeoutOf(newest.Name) {
		p.restart(newest)
		return false
	}
	if state(newest) == stateStable || state(newest) == stateFailed {
		return false
	}
	to := base(old)
	if to == nil {
		return false
	}
	p.setState(newest, stateFailed)
	p.setState(to, stateStable) // there is nothing to go back to from there
	p.d.Spec.Template = *to.Spec.Template.DeepCopy()
	delete(p.d.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	p.d.Annotations = restored(p.d.Annotations, to.Annotations)
	delete(p.d.Annotations, canaryPromote)
	p.out.Spec = p.d
	p.note(true, reasonTimedOut, timeoutOf(newest.Name))
	p.note(false, reasonRollback, fmt.Sprintf("Rolled back deployment %q to revision %s", p.d.Name, to.Annotations[revisionAnnotation]))
	return true
}

// timeoutOf is the message of the condition when a set has missed its deadline.
func timeoutOf(set string) string {
	return fmt.Sprintf("ReplicaSet %q has timed out progressing.", set)
}

// becomeStable notes that a template has served everywhere.
func (p *planner) becomeStable(newest *appsv1.ReplicaSet) {
	if opted(p.d) && newest != p.out.Create {
		p.setState(newest, stateStable)
	}
}
