package deployment

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"kubus.dev/services/controllers/internal/history"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func template(image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: image}}},
	}
}

// web is a deployment of image with maxSurge and maxUnavailable.
func web(replicas int32, image string, surge, unavailable int32) *appsv1.Deployment {
	s, u, limit, deadline := intstr.FromInt32(surge), intstr.FromInt32(unavailable), int32(10), int32(600)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "d", Generation: 1, Annotations: map[string]string{}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Template: template(image), RevisionHistoryLimit: &limit, ProgressDeadlineSeconds: &deadline,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Strategy: appsv1.DeploymentStrategy{
				Type:          appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
			},
		},
	}
}

// set is a replica set of d: its wish, how many pods it has and how many are available.
func set(d *appsv1.Deployment, image string, revision int, wish, has, ready int32) *appsv1.ReplicaSet {
	spec := template(image)
	hash := history.TemplateHash(&spec, nil)
	spec.Labels["pod-template-hash"] = hash
	name := setName(d.Name, hash)
	s := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID(name), Generation: 1, Labels: spec.Labels,
			CreationTimestamp: metav1.NewTime(now.Add(time.Duration(revision-100) * time.Minute)),
			OwnerReferences:   []metav1.OwnerReference{*metav1.NewControllerRef(d, kind)},
			Annotations:       map[string]string{revisionAnnotation: fmt.Sprint(revision)},
		},
		Spec:   appsv1.ReplicaSetSpec{Replicas: &wish, Template: spec},
		Status: appsv1.ReplicaSetStatus{ObservedGeneration: 1, Replicas: has, ReadyReplicas: ready, AvailableReplicas: ready},
	}
	annotateSizes(d, s)
	return s
}

// settled gives d the status it would have.
func settled(d *appsv1.Deployment, sets ...*appsv1.ReplicaSet) *appsv1.Deployment {
	newest, _ := split(d, sets)
	d.Status = statusOf(d, sets, newest, now.Add(-time.Minute))
	reason := reasonSetUpdated
	if complete(d, &d.Status) {
		reason = reasonAvailable
	}
	message := ""
	if newest != nil && reason == reasonAvailable {
		message = fmt.Sprintf("ReplicaSet %q has successfully progressed.", newest.Name)
	}
	setCondition(&d.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reason, message, now.Add(-time.Minute)))
	if newest != nil {
		d.Annotations[revisionAnnotation] = newest.Annotations[revisionAnnotation]
	}
	return d
}

// say puts a plan into a line: created, updated to, deleted.
func say(p plan) string {
	var parts []string
	if p.Create != nil {
		parts = append(parts, fmt.Sprintf("create r%s:%d", p.Create.Annotations[revisionAnnotation], *p.Create.Spec.Replicas))
	}
	for _, s := range p.Update {
		parts = append(parts, fmt.Sprintf("update r%s:%d", s.Annotations[revisionAnnotation], *s.Spec.Replicas))
	}
	for _, s := range p.Delete {
		parts = append(parts, fmt.Sprintf("delete r%s", s.Annotations[revisionAnnotation]))
	}
	return strings.Join(parts, ", ")
}

func TestDecide(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		world  func() (*appsv1.Deployment, []*appsv1.ReplicaSet)
		want   string
		events []string
	}{
		{"a new deployment gets its first set at full size", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			return web(3, "a", 1, 1), nil
		}, "create r1:3", []string{"Scaled up replica set web-5854c7b4ff from 0 to 3"}},
		{"a complete deployment needs nothing", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "a", 1, 1)
			s := set(d, "a", 1, 3, 3, 3)
			return settled(d, s), []*appsv1.ReplicaSet{s}
		}, "", nil},
		{"a new image starts a set of maxSurge and takes maxUnavailable from the old at once", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(10, "b", 3, 2)
			s := set(d, "a", 1, 10, 10, 10)
			return settled(d, s), []*appsv1.ReplicaSet{s}
		}, "create r2:3, update r1:8", nil},
		{"with no surge the old set shrinks first", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 0, 1)
			s := set(d, "a", 1, 3, 3, 3)
			return settled(d, s), []*appsv1.ReplicaSet{s}
		}, "create r2:0, update r1:2", nil},
		{"with nothing unavailable the old set waits for the new pod", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 1, 0)
			o, n := set(d, "a", 1, 3, 3, 3), set(d, "b", 2, 1, 1, 0)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, "", nil},
		{"a ready new pod lets an old one go", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 1, 0)
			o, n := set(d, "a", 1, 3, 3, 3), set(d, "b", 2, 1, 1, 1)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, "update r1:2", []string{"Scaled down replica set web-5854c7b4ff from 3 to 2"}},
		{"of a set that becomes the newest while it shrinks only what stays counts", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(4, "b", 1, 0)
			o, n := set(d, "a", 1, 4, 4, 4), set(d, "b", 2, 1, 3, 3)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, "update r1:3", nil},
		{"a newest set that has not told of its present size lets no old pod go", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(4, "b", 1, 0)
			o, n := set(d, "a", 1, 4, 4, 4), set(d, "b", 2, 1, 3, 3)
			n.Generation = 2
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, "", nil},
		{"the room an old pod left goes to the new set", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 1, 0)
			o, n := set(d, "a", 1, 2, 2, 2), set(d, "b", 2, 1, 1, 1)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, "update r2:2", nil},
		{"broken new pods stop the roll with the old ones serving", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(4, "b", 1, 1)
			o, n := set(d, "a", 1, 3, 3, 3), set(d, "b", 2, 2, 2, 0)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, "", nil},
		{"old pods that serve nobody go first", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "c", 1, 1)
			o, b, n := set(d, "a", 1, 2, 2, 2), set(d, "b", 2, 2, 2, 0), set(d, "c", 3, 0, 0, 0)
			return settled(d, o, b, n), []*appsv1.ReplicaSet{o, b, n}
		}, "update r2:0", nil},
		{"while a set has more available pods than it wishes nothing is taken away", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(10, "b", 3, 2)
			o, n := set(d, "a", 1, 8, 10, 10), set(d, "b", 2, 5, 5, 3)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, "", nil},
		{"going back to an old template gives its set the next revision and keeps the past", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "a", 1, 0)
			o, n := set(d, "a", 1, 0, 0, 0), set(d, "b", 2, 3, 3, 3)
			return settled(d, n), []*appsv1.ReplicaSet{o, n}
		}, "update r3:1", nil},
		{"scaling with one active set sets its size", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "a", 1, 1)
			s := set(d, "a", 1, 3, 3, 3)
			settled(d, s)
			five := int32(5)
			d.Spec.Replicas = &five
			return d, []*appsv1.ReplicaSet{s}
		}, "update r1:5", []string{"Scaled up replica set web-5854c7b4ff from 3 to 5"}},
		{"scaling in the middle of a roll is in proportion", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(10, "b", 3, 2)
			o, n := set(d, "a", 1, 8, 8, 8), set(d, "b", 2, 5, 5, 0)
			settled(d, o, n)
			thirty := int32(30)
			d.Spec.Replicas = &thirty
			return d, []*appsv1.ReplicaSet{o, n}
		}, "update r1:20, update r2:13", nil},
		{"scaling to nothing empties all sets", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(10, "b", 3, 2)
			o, n := set(d, "a", 1, 8, 8, 8), set(d, "b", 2, 5, 5, 0)
			settled(d, o, n)
			zero := int32(0)
			d.Spec.Replicas = &zero
			return d, []*appsv1.ReplicaSet{o, n}
		}, "update r1:0, update r2:0", nil},
		{"a paused deployment does not roll", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 1, 1)
			d.Spec.Paused = true
			s := set(d, "a", 1, 3, 3, 3)
			return settled(d, s), []*appsv1.ReplicaSet{s}
		}, "", nil},
		{"a paused deployment scales", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 1, 1)
			s := set(d, "a", 1, 3, 3, 3)
			settled(d, s)
			d.Spec.Paused = true
			one := int32(1)
			d.Spec.Replicas = &one
			return d, []*appsv1.ReplicaSet{s}
		}, "update r1:1", nil},
		{"recreate empties the old sets before it makes the new one", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 0, 0)
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
			s := set(d, "a", 1, 3, 3, 3)
			return settled(d, s), []*appsv1.ReplicaSet{s}
		}, "update r1:0", nil},
		{"recreate waits for the last old pod", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 0, 0)
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
			s := set(d, "a", 1, 0, 1, 0)
			return settled(d, s), []*appsv1.ReplicaSet{s}
		}, "", nil},
		{"recreate goes to full size at once", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 0, 0)
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
			s := set(d, "a", 1, 0, 0, 0)
			return settled(d, s), []*appsv1.ReplicaSet{s}
		}, "create r2:3", nil},
		{"sets beyond the history limit are deleted, the oldest first", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(1, "d", 1, 0)
			limit := int32(1)
			d.Spec.RevisionHistoryLimit = &limit
			sets := []*appsv1.ReplicaSet{set(d, "a", 1, 0, 0, 0), set(d, "b", 2, 0, 0, 0), set(d, "c", 3, 0, 0, 0), set(d, "d", 4, 1, 1, 1)}
			return settled(d, sets...), sets
		}, "delete r1, delete r2", nil},
		{"a deployment that is being deleted changes nothing", func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 1, 1)
			s := set(d, "a", 1, 3, 3, 3)
			settled(d, s)
			gone := metav1.NewTime(now)
			d.DeletionTimestamp = &gone
			return d, []*appsv1.ReplicaSet{s}
		}, "", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, sets := c.world()
			got := decide(observed{Deployment: d, Sets: sets}, now)
			if say(got) != c.want {
				t.Errorf("got %q, want %q", say(got), c.want)
			}
			for i, want := range c.events {
				if i >= len(got.Events) || got.Events[i].Message != want {
					t.Errorf("events: got %+v, want %q", got.Events, c.events)
				}
			}
		})
	}
}

func TestDecidingDoesNotModifyWhatItSees(t *testing.T) {
	d := web(3, "b", 1, 1)
	s := set(d, "a", 1, 3, 3, 3)
	settled(d, s)
	before, beforeSet := d.DeepCopy(), s.DeepCopy()
	decide(observed{Deployment: d, Sets: []*appsv1.ReplicaSet{s}}, now)
	if !equality.Semantic.DeepEqual(before, d) || !equality.Semantic.DeepEqual(beforeSet, s) {
		t.Error("decide changed its input")
	}
}

// TestEveryRollEndsAndKeepsItsBounds plays deployments against sets whose pods come
// and go one at a time in a fixed disorder.
func TestEveryRollEndsAndKeepsItsBounds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ replicas, surge, unavailable int32 }{{1, 1, 0}, {1, 0, 1}, {3, 1, 0}, {3, 0, 1}, {3, 1, 1}, {10, 3, 2}, {10, 0, 3}, {10, 10, 0}, {17, 5, 4}} {
		d := web(c.replicas, "b", c.surge, c.unavailable)
		sets := []*appsv1.ReplicaSet{set(d, "a", 1, c.replicas, c.replicas, c.replicas)}
		settled(d, sets...)
		at := now
		for step := 0; ; step++ {
			if step > 1000 {
				t.Fatalf("%+v: the roll does not end: %s", c, describe(sets))
			}
			p := decide(observed{Deployment: d, Sets: sets}, at)
			sets = carryOut(d, sets, p)
			if total := wished(sets); total > c.replicas+c.surge {
				t.Fatalf("%+v: %d pods wished, more than the surge allows: %s", c, total, describe(sets))
			}
			moved := movePods(sets, step)
			if ready := available(sets); ready < c.replicas-c.unavailable {
				t.Fatalf("%+v: only %d available: %s", c, ready, describe(sets))
			}
			if p.Status == nil && say(p) == "" && !moved {
				break
			}
			at = at.Add(time.Second)
		}
		newest, _ := split(d, sets)
		if newest == nil || newest.Status.AvailableReplicas != c.replicas || wished(sets) != c.replicas || !complete(d, &d.Status) {
			t.Errorf("%+v: ended with %s, status %+v", c, describe(sets), d.Status)
		}
		if progress := condition(&d.Status, appsv1.DeploymentProgressing); progress == nil || progress.Reason != reasonAvailable {
			t.Errorf("%+v: ended with condition %+v", c, progress)
		}
	}
}

func describe(sets []*appsv1.ReplicaSet) string {
	var parts []string
	for _, s := range sets {
		parts = append(parts, fmt.Sprintf("r%s wish %d has %d ready %d", s.Annotations[revisionAnnotation], *s.Spec.Replicas, s.Status.Replicas, s.Status.AvailableReplicas))
	}
	return strings.Join(parts, "; ")
}

func carryOut(d *appsv1.Deployment, sets []*appsv1.ReplicaSet, p plan) []*appsv1.ReplicaSet {
	if p.Create != nil {
		s := p.Create
		s.UID, s.CreationTimestamp = types.UID(s.Name), metav1.NewTime(now)
		sets = append(sets, s)
	}
	for _, u := range p.Update {
		i := slices.IndexFunc(sets, func(s *appsv1.ReplicaSet) bool { return s.Name == u.Name })
		sets[i] = u
	}
	if p.Status != nil {
		d.Status, d.Annotations = p.Status.Status, p.Status.Annotations
	}
	return sets
}

// movePods lets one set go one pod further.
func movePods(sets []*appsv1.ReplicaSet, step int) bool {
	for i := range sets {
		s := sets[(i+step)%len(sets)]
		switch {
		case s.Status.Replicas > *s.Spec.Replicas:
			if s.Status.AvailableReplicas == s.Status.Replicas {
				s.Status.AvailableReplicas--
			}
			s.Status.Replicas--
		case s.Status.Replicas < *s.Spec.Replicas:
			s.Status.Replicas++
		case s.Status.AvailableReplicas < s.Status.Replicas:
			s.Status.AvailableReplicas++
		default:
			continue
		}
		s.Status.ReadyReplicas = s.Status.AvailableReplicas
		s.Status.ObservedGeneration = s.Generation
		return true
	}
	return false
}

func TestConditionsOfAProgressingRollout(t *testing.T) {
	t.Parallel()
	d := web(3, "a", 1, 1)
	first := decide(observed{Deployment: d}, now)
	progress := condition(&first.Status.Status, appsv1.DeploymentProgressing)
	if progress == nil || progress.Reason != reasonNewSet || !strings.HasPrefix(progress.Message, `Created new replica set "web-`) {
		t.Errorf("after creating: %+v", progress)
	}
	if first.Again != 601*time.Second {
		t.Errorf("looks again after %v, want 601s", first.Again)
	}

	d.Status, d.Annotations = first.Status.Status, first.Status.Annotations
	late := decide(observed{Deployment: d, Sets: []*appsv1.ReplicaSet{set(d, "a", 1, 3, 3, 0)}}, now)
	d.Status = late.Status.Status
	late = decide(observed{Deployment: d, Sets: []*appsv1.ReplicaSet{set(d, "a", 1, 3, 3, 0)}}, now.Add(601*time.Second))
	progress = condition(&late.Status.Status, appsv1.DeploymentProgressing)
	if progress.Status != corev1.ConditionFalse || progress.Reason != reasonTimedOut || progress.Message != `ReplicaSet "web-5854c7b4ff" has timed out progressing.` {
		t.Errorf("after the deadline: %+v", progress)
	}
	if late.Again != 0 {
		t.Errorf("looks again after %v though it has timed out", late.Again)
	}
}

func TestARollbackByAnnotationRestoresTemplateAndCause(t *testing.T) {
	t.Parallel()
	d := web(3, "b", 1, 1)
	d.Annotations[appsv1.DeprecatedRollbackTo] = "1"
	d.Annotations["kubernetes.io/change-cause"] = "b"
	o, n := set(d, "a", 1, 0, 0, 0), set(d, "b", 2, 3, 3, 3)
	o.Annotations["kubernetes.io/change-cause"] = "a"
	settled(d, n)
	p := decide(observed{Deployment: d, Sets: []*appsv1.ReplicaSet{o, n}}, now)
	if p.Spec == nil || p.Spec.Spec.Template.Spec.Containers[0].Image != "a" || p.Spec.Annotations["kubernetes.io/change-cause"] != "a" {
		t.Fatalf("got %+v", p.Spec)
	}
	if _, there := p.Spec.Annotations[appsv1.DeprecatedRollbackTo]; there {
		t.Error("the wish is still there")
	}
	if _, there := p.Spec.Spec.Template.Labels["pod-template-hash"]; there {
		t.Error("the hash is in the deployment's template")
	}
}

func TestHistoryDropsTheOldestBeyondItsLength(t *testing.T) {
	t.Parallel()
	past := ""
	for i := 1000; i < 2000; i++ {
		past = historyWith(past, fmt.Sprint(i))
	}
	if len(past) > historyLength || !strings.HasSuffix(past, ",1999") || strings.HasPrefix(past, "1000,") {
		t.Errorf("got %d characters, %.20s...%s", len(past), past, past[len(past)-10:])
	}
}

// The set was created, and the status that says so was not written.
func TestARolloutWhoseBeginningWasNotToldIsToldInTheEnd(t *testing.T) {
	t.Parallel()
	d := web(3, "b", 1, 1)
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	first, second := set(d, "a", 1, 0, 0, 0), set(d, "b", 2, 3, 0, 0)
	told := func() string {
		c := condition(&d.Status, appsv1.DeploymentProgressing)
		return c.Reason + ": " + c.Message
	}
	const old = "ReplicaSet \"web-1\" has successfully progressed."
	d.Status = statusOf(d, []*appsv1.ReplicaSet{first}, nil, now)
	setCondition(&d.Status, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonAvailable, old, now))
	look := func() {
		t.Helper()
		if next := decide(observed{Deployment: d, Sets: []*appsv1.ReplicaSet{first, second}}, now); next.Status != nil {
			d = next.Status
		}
	}
	if look(); told() != reasonAvailable+": "+old {
		t.Errorf("before any pod is there: %s", told())
	}
	second.Status.Replicas = 3
	if look(); told() != fmt.Sprintf("%s: ReplicaSet %q is progressing.", reasonSetUpdated, second.Name) {
		t.Errorf("when pods are there: %s", told())
	}
	second.Status.ReadyReplicas, second.Status.AvailableReplicas = 3, 3
	if look(); told() != fmt.Sprintf("%s: ReplicaSet %q has successfully progressed.", reasonAvailable, second.Name) {
		t.Errorf("when they are available: %s", told())
	}
}
