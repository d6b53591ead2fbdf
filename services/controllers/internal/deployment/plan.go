package deployment

import (
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/history"
)

// observed is the world a plan is made from. Nothing in it is modified.
type observed struct {
	Deployment *appsv1.Deployment
	Sets       []*appsv1.ReplicaSet        // that the deployment controls, in any order
	Pods       map[types.UID][]*corev1.Pod // by the UID of their set; only Recreate asks for them
}

// plan is what is to be written, in this order; empty when all is as it should be.
type plan struct {
	Create *appsv1.ReplicaSet
	Update []*appsv1.ReplicaSet
	Delete []*appsv1.ReplicaSet
	Spec   *appsv1.Deployment // the deployment itself: a roll back, a wish that is done
	Status *appsv1.Deployment // its status and revision annotation
	Events []note             // to be recorded once everything is written
	Again  time.Duration      // until a deadline is to be checked; zero for never
}

type note struct {
	Warning         bool
	Reason, Message string
}

// decide is the whole controller: upstream's syncDeployment as a pure function.
func decide(world observed, now time.Time) plan {
	p := planner{before: world.Deployment, d: world.Deployment.DeepCopy(), pods: world.Pods, now: now}
	for _, set := range world.Sets {
		p.sets = append(p.sets, set.DeepCopy())
	}
	byAge(p.sets)
	if p.d.Spec.Replicas == nil {
		one := int32(1)
		p.d.Spec.Replicas = &one
	}
	for _, set := range p.sets {
		if set.Spec.Replicas == nil {
			one := int32(1)
			set.Spec.Replicas = &one
		}
	}
	p.run()
	return p.out
}

// planner works on drafts: d and the sets are copies, and hold what the plan makes of them.
type planner struct {
	before *appsv1.Deployment
	d      *appsv1.Deployment
	sets   []*appsv1.ReplicaSet
	pods   map[types.UID][]*corev1.Pod
	now    time.Time
	out    plan
}

func (p *planner) run() {
	if equality.Semantic.DeepEqual(p.d.Spec.Selector, &metav1.LabelSelector{}) {
		p.note(true, "SelectingAll", "This deployment is selecting all pods. A non-empty selector is required.")
		next := p.d.Status
		next.ObservedGeneration = p.d.Generation
		p.finish(next)
		return
	}
	if p.d.DeletionTimestamp != nil {
		newest, old := p.revisions(false)
		p.finish(statusOf(p.d, append(old, newest), newest, p.now))
		return
	}
	if rollbackTo(p.d) == nil && p.dropWish() {
		return // the look after this one builds on what is written now
	}
	p.notePause()
	switch {
	case p.d.Spec.Paused:
		p.resize()
	case rollbackTo(p.d) != nil:
		p.rollback(*rollbackTo(p.d))
	case !p.onCanary() && p.resized():
		p.resize()
	case p.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		p.recreate()
	default:
		p.roll()
	}
}

// notePause keeps the time a rollout is paused from counting as lack of progress.
func (p *planner) notePause() {
	c := condition(&p.d.Status, appsv1.DeploymentProgressing)
	if !hasDeadline(p.d) || c != nil && c.Reason == reasonTimedOut {
		return
	}
	paused := c != nil && c.Reason == reasonPaused
	switch {
	case p.d.Spec.Paused && !paused:
		setCondition(&p.d.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused", p.now))
	case !p.d.Spec.Paused && paused:
		setCondition(&p.d.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", p.now))
	}
}

// revisions finds the set of the present template, brings its revision up to date
// and tells it from the old ones, which are ordered by age. With create, a missing
// one is planned.
func (p *planner) revisions(create bool) (newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	newest, old = split(p.d, p.sets)
	number := maxRevision(old) + 1
	if newest == nil && !create {
		return nil, old
	}
	if newest == nil {
		return p.create(number, old), old
	}
	if annotate(p.d, newest, number, true) || newest.Spec.MinReadySeconds != p.d.Spec.MinReadySeconds {
		newest.Spec.MinReadySeconds = p.d.Spec.MinReadySeconds
		p.update(newest)
	}
	p.setRevision(newest.Annotations[revisionAnnotation])
	if hasDeadline(p.d) && condition(&p.d.Status, appsv1.DeploymentProgressing) == nil {
		setCondition(&p.d.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonFoundSet, fmt.Sprintf("Found new replica set %q", newest.Name), p.now))
	}
	return newest, old
}

// split gives the oldest set of the present template, and the others.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	for _, set := range sets {
		if newest == nil && sameTemplate(&set.Spec.Template, &d.Spec.Template) {
			newest = set
			continue
		}
		old = append(old, set)
	}
	return newest, old
}

// create plans the set of the present template.
func (p *planner) create(number int64, old []*appsv1.ReplicaSet) *appsv1.ReplicaSet {
	hash := history.TemplateHash(&p.d.Spec.Template, p.d.Status.CollisionCount)
	template := p.d.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := p.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	replicas, known := p.begin(old)
	set := &appsv1.ReplicaSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"},
		ObjectMeta: metav1.ObjectMeta{
			Name: setName(p.d.Name, hash), Namespace: p.d.Namespace,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p.d, kind)},
			Labels:          withHash(p.d.Spec.Template.Labels, hash),
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, MinReadySeconds: p.d.Spec.MinReadySeconds, Selector: selector, Template: *template,
		},
	}
	annotate(p.d, set, number, false)
	if known != "" {
		set.Annotations[canaryState] = known
	}
	p.out.Create = set
	p.sets = append(p.sets, set)
	if replicas > 0 {
		p.note(false, reasonScaling, fmt.Sprintf("Scaled up replica set %s from 0 to %d", set.Name, replicas))
	}
	p.setRevision(strconv.FormatInt(number, 10))
	if hasDeadline(p.d) {
		setCondition(&p.d.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonNewSet, fmt.Sprintf("Created new replica set %q", set.Name), p.now))
	}
	return set
}

func withHash(labels map[string]string, hash string) map[string]string {
	all := make(map[string]string, len(labels)+1)
	for key, value := range labels {
		all[key] = value
	}
	all[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return all
}

func (p *planner) setRevision(number string) {
	if p.d.Annotations == nil {
		p.d.Annotations = map[string]string{}
	}
	p.d.Annotations[revisionAnnotation] = number
}

// scale sets a set's size and notes it; with force also when only the sizes noted
// on it are out of date. It is true when the size changed.
func (p *planner) scale(set *appsv1.ReplicaSet, replicas int32, force bool) bool {
	before := *set.Spec.Replicas
	if before == replicas && (!force || sizesCurrent(p.d, set)) {
		return false
	}
	*set.Spec.Replicas = replicas
	annotateSizes(p.d, set)
	p.update(set)
	if before == replicas {
		return false
	}
	direction := "down"
	if before < replicas {
		direction = "up"
	}
	p.note(false, reasonScaling, fmt.Sprintf("Scaled %s replica set %s from %d to %d", direction, set.Name, before, replicas))
	return true
}

// update plans to write the draft of a set; one that is about to be created has it already.
func (p *planner) update(set *appsv1.ReplicaSet) {
	if set == p.out.Create {
		return
	}
	for _, planned := range p.out.Update {
		if planned == set {
			return
		}
	}
	p.out.Update = append(p.out.Update, set)
}

// cleanup deletes the oldest sets beyond the history limit, those with no pods.
func (p *planner) cleanup(old []*appsv1.ReplicaSet) {
	if !hasHistoryLimit(p.d) {
		return
	}
	var alive []*appsv1.ReplicaSet
	for _, set := range old {
		if set.DeletionTimestamp == nil {
			alive = append(alive, set)
		}
	}
	surplus := len(alive) - int(*p.d.Spec.RevisionHistoryLimit)
	if surplus <= 0 {
		return
	}
	byRevision(alive)
	for _, set := range alive[:surplus] {
		if set.Status.Replicas != 0 || *set.Spec.Replicas != 0 || set.Generation > set.Status.ObservedGeneration {
			continue
		}
		p.out.Delete = append(p.out.Delete, set)
	}
}

// finish plans the status when it, or the revision, differs from what is stored.
func (p *planner) finish(status appsv1.DeploymentStatus) {
	p.d.Status = status
	if equality.Semantic.DeepEqual(p.before.Status, status) && p.before.Annotations[revisionAnnotation] == p.d.Annotations[revisionAnnotation] {
		return
	}
	p.out.Status = p.d
}

func (p *planner) note(warning bool, reason, message string) {
	p.out.Events = append(p.out.Events, note{warning, reason, message})
}
