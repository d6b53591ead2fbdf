package deployment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/sim"
)

// play is a deployment, what keeps its replica sets' pods, and its user, who wants other
// images, among them broken ones, other sizes, canaries or none, and promotions.
type play struct {
	*sim.Model
	t    *testing.T
	term *sim.Term

	deployments sim.Collection[appsv1.Deployment]
	sets        sim.Collection[appsv1.ReplicaSet]

	seen     *appsv1.Deployment // as the controller saw it when it decided
	seenSets map[types.UID]*appsv1.ReplicaSet
	images   int
}

var key = types.NamespacedName{Namespace: "default", Name: "web"}

func TestSimulation(t *testing.T) {
	t.Parallel()
	sim.Seeds(t, func(t *testing.T, seed uint64) {
		p := &play{Model: sim.New(seed, sim.Odds{LostRequest: 0.05, LostAnswer: 0.05, Crash: 0.05, Touch: 0.1, Late: 0.5}), t: t}
		p.deployments = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[appsv1.Deployment] { return w.Deployments }, p.deploymentChanges)
		p.sets = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[appsv1.ReplicaSet] { return w.ReplicaSets }, p.setChanges)
		p.deployments.Put(p.draw())
		p.begin()
		for range 400 {
			p.turn()
			if err := p.Err(); err != nil {
				t.Fatal(err)
			}
		}
		p.settle()
	})
}

func (p *play) draw() *appsv1.Deployment {
	surge, unavailable := int32(p.Rand.IntN(3)), int32(p.Rand.IntN(2))
	d := web(int32(1+p.Rand.IntN(6)), "good:0", surge, max(unavailable, 1-surge))
	*d.Spec.ProgressDeadlineSeconds = 60
	d.UID, d.ResourceVersion, d.Generation = "", "", 0
	p.wishes(d)
	return d
}

// wishes draws what a deployment asks for beyond upstream.
func (p *play) wishes(d *appsv1.Deployment) {
	for _, each := range []string{canaryReplicas, canaryAutoPromote, canaryAutoRevert} {
		delete(d.Annotations, each)
	}
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	if p.Rand.IntN(4) > 0 {
		d.Annotations[canaryReplicas] = []string{"1", "2", "50%", "100%", "odd"}[p.Rand.IntN(5)]
	}
	if p.Rand.IntN(4) == 0 {
		d.Annotations[canaryAutoPromote] = "true"
	}
	if p.Rand.IntN(2) == 0 {
		d.Annotations[canaryAutoRevert] = "true"
	}
}

func (p *play) begin() {
	p.term = p.Begin(p.t.Context(), func(e *frame.Env) queue.Reconciler[types.NamespacedName] { return newController(e).reconcile })
}

func (p *play) reconcile() {
	p.seen, p.seenSets = p.term.World.Deployments.Get(key.Namespace, key.Name), map[types.UID]*appsv1.ReplicaSet{}
	for _, s := range p.term.World.ReplicaSets.List(key.Namespace) {
		p.seenSets[s.UID] = s
	}
	_ = p.term.Reconcile(key) // what fails is tried again
}

func (p *play) deployment() *appsv1.Deployment { return p.deployments.List()[0] }

func (p *play) turn() {
	switch n := p.Rand.IntN(100); {
	case n < 40:
		p.reconcile()
	case n < 80:
		p.pods()
	case n < 88:
		p.Deliver(false)
	case n < 93:
		time.Sleep(time.Duration(p.Rand.Int64N(int64(20 * time.Second))))
	case n < 98:
		p.user()
	default:
		p.End()
	}
	if p.Crashed() {
		p.begin()
	}
}

func broken(s *appsv1.ReplicaSet) bool {
	return strings.HasPrefix(s.Spec.Template.Spec.Containers[0].Image, "broken")
}

// pods brings one set's pods a step further; it is false when there is none to take.
func (p *play) pods() bool {
	sets := p.sets.List()
	if len(sets) == 0 {
		return false
	}
	first := p.Rand.IntN(len(sets))
	for i := range sets {
		s := sets[(first+i)%len(sets)]
		status := &s.Status
		switch wish := *s.Spec.Replicas; {
		case status.ObservedGeneration < s.Generation:
			status.ObservedGeneration = s.Generation
		case status.Replicas < wish:
			status.Replicas++
		case status.Replicas > wish:
			status.Replicas--
			status.AvailableReplicas = min(status.AvailableReplicas, status.Replicas)
		case status.AvailableReplicas < status.Replicas && !broken(s):
			status.AvailableReplicas++
		default:
			continue
		}
		status.ReadyReplicas = status.AvailableReplicas
		p.sets.Put(s)
		return true
	}
	return false
}

func (p *play) user() {
	d := p.deployment()
	switch p.Rand.IntN(6) {
	case 0, 1:
		p.images++
		d.Spec.Template.Spec.Containers[0].Image = fmt.Sprint([]string{"good:", "broken:"}[p.Rand.IntN(2)], p.images)
	case 2:
		d.Spec.Template.Spec.Containers[0].Image = "good:0"
	case 3:
		*d.Spec.Replicas = int32(p.Rand.IntN(7))
	case 4:
		p.wishes(d)
	case 5:
		d.Annotations[canaryPromote] = "true"
	}
	p.deployments.Put(d)
}

// deploymentChanges: a template is put back only where it is asked for, by one that
// made no progress, and never a broken one that was not trusted.
func (p *play) deploymentChanges(old, new *appsv1.Deployment, own bool) error {
	if !own || old == nil || new == nil || sameTemplate(&old.Spec.Template, &new.Spec.Template) {
		return nil
	}
	c := condition(&p.seen.Status, appsv1.DeploymentProgressing)
	if !says(p.seen, canaryAutoRevert) || c == nil || c.Reason != reasonTimedOut {
		return fmt.Errorf("a template was put back: %v", c)
	}
	return nil
}

// setChanges holds what the controller does against what it saw.
func (p *play) setChanges(old, new *appsv1.ReplicaSet, own bool) error {
	if !own || new == nil {
		if own && old != nil && (*old.Spec.Replicas > 0 || old.Status.Replicas > 0) {
			return fmt.Errorf("a set with pods was deleted")
		}
		return nil
	}
	d := p.seen
	n, _ := canaries(d)
	most := max(*d.Spec.Replicas+maxSurge(d), *d.Spec.Replicas+n)
	if *new.Spec.Replicas > most {
		return fmt.Errorf("%d pods in one set, at most %d in all are allowed", *new.Spec.Replicas, most)
	}
	if d.Annotations[canaryReplicas] == "" || n == 0 || !sameTemplate(&new.Spec.Template, &d.Spec.Template) {
		return nil
	}
	// A template that is only tried has its canaries and no pod more.
	tried := state(new) == stateCanary || state(new) == stateFailed
	if grows := old == nil || *new.Spec.Replicas > *old.Spec.Replicas; tried && grows && *new.Spec.Replicas > n && p.someServe() {
		return fmt.Errorf("%d pods of a template that is tried with %d", *new.Spec.Replicas, n)
	}
	// None is promoted that was not seen available, and wished.
	if old != nil && state(old) == stateCanary && state(new) == statePromoted {
		was := p.seenSets[new.UID]
		if was.Status.AvailableReplicas < n {
			return fmt.Errorf("promoted with %d of %d canaries available", was.Status.AvailableReplicas, n)
		}
		if !says(d, canaryAutoPromote) && d.Annotations[canaryPromote] == "" {
			return fmt.Errorf("promoted by nobody")
		}
	}
	return nil
}

// someServe: there is a trusted set, as the controller saw it.
func (p *play) someServe() bool {
	for _, s := range p.seenSets {
		if !sameTemplate(&s.Spec.Template, &p.seen.Spec.Template) && state(s) != stateCanary && state(s) != stateFailed {
			return true
		}
	}
	return false
}

// settle ends all trouble. The last template is a good one, and is promoted when it
// waits: in the end it has all pods and nobody else has any. Then comes a broken one that
// goes back by itself, and all is as it was.
func (p *play) settle() {
	p.Odds = sim.Odds{}
	d := p.deployment()
	*d.Spec.Replicas = 3
	d.Spec.Template.Spec.Containers[0].Image = "good:last"
	p.deployments.Put(d)
	p.rest()
	p.ended()
	d = p.deployment()
	d.Spec.Template.Spec.Containers[0].Image = "broken:last"
	d.Annotations[canaryAutoRevert] = "true"
	p.deployments.Put(d)
	p.rest()
	p.ended()
}

// rest plays on until nothing happens for longer than the deadline.
func (p *play) rest() {
	for quiet, looks := 0, 0; quiet < 120; looks++ {
		if looks > 3000 {
			p.t.Fatalf("it does not come to rest: %s, %v, status %+v", describe(p.sets.List()), p.deployment().Annotations, p.deployment().Status)
		}
		p.Deliver(true)
		before := p.revisions()
		p.reconcile()
		moved := p.pods()
		p.Deliver(true)
		d := p.deployment()
		newest, _ := split(d, p.sets.List())
		if c := condition(&d.Status, appsv1.DeploymentProgressing); c != nil && c.Reason == reasonCanaryWaits && d.Annotations[canaryPromote] == "" && newest != nil && state(newest) == stateCanary {
			d.Annotations[canaryPromote] = "true"
			p.deployments.Put(d)
		}
		time.Sleep(time.Second)
		if quiet++; moved || before != p.revisions() {
			quiet = 0
		}
	}
	if err := p.Err(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) ended() {
	p.t.Helper()
	d := p.deployment()
	image := d.Spec.Template.Spec.Containers[0].Image
	newest, old := split(d, p.sets.List())
	if newest == nil || image != "good:last" || wished(old) != 0 || newest.Status.AvailableReplicas != 3 || !complete(d, &d.Status) {
		p.t.Fatalf("ended with %s: %s, condition %+v", image, describe(p.sets.List()), condition(&d.Status, appsv1.DeploymentProgressing))
	}
	if _, wished := d.Annotations[canaryPromote]; wished {
		p.t.Error("a wish to promote is left")
	}
	if opted(d) && state(newest) != stateStable {
		p.t.Errorf("in the end the template is %q", state(newest))
	}
	if c := condition(&d.Status, appsv1.DeploymentProgressing); c == nil || c.Status != corev1.ConditionTrue || c.Reason != reasonAvailable {
		p.t.Errorf("in the end the condition is %+v", c)
	}
}

// revisions tells one state of the API from another.
func (p *play) revisions() (all string) {
	all = p.deployment().ResourceVersion
	for _, s := range p.sets.List() {
		all += " " + s.Name + s.ResourceVersion
	}
	return all
}
