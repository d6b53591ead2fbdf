package deployment

import (
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/controllers/internal/history"
)

// with gives a deployment annotations: key, value, key, value.
func with(d *appsv1.Deployment, annotations ...string) *appsv1.Deployment {
	for i := 0; i < len(annotations); i += 2 {
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	return d
}

func known(s *appsv1.ReplicaSet, state string) *appsv1.ReplicaSet {
	s.Annotations[canaryState] = state
	return s
}

// told gives d a condition Progressing that is a minute old.
func told(d *appsv1.Deployment, status corev1.ConditionStatus, reason string) *appsv1.Deployment {
	removeCondition(&d.Status, appsv1.DeploymentProgressing)
	newest := setName(d.Name, history.TemplateHash(&d.Spec.Template, nil))
	setCondition(&d.Status, newCondition(appsv1.DeploymentProgressing, status, reason, timeoutOf(newest), now.Add(-time.Minute)))
	return d
}

// missed is told for a deadline that the set of another image missed.
func missed(d *appsv1.Deployment, image string) *appsv1.Deployment {
	other := d.DeepCopy()
	other.Spec.Template = template(image)
	d.Status.Conditions = told(other, corev1.ConditionFalse, reasonTimedOut).Status.Conditions
	return d
}

func states(p plan) string {
	var parts []string
	for _, s := range append([]*appsv1.ReplicaSet{p.Create}, p.Update...) {
		if s != nil && state(s) != "" {
			parts = append(parts, "r"+s.Annotations[revisionAnnotation]+" "+state(s))
		}
	}
	return strings.Join(parts, ", ")
}

func TestCanaries(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name     string
		replicas int32
		text     string
		want     int32
		bad      bool
	}{
		{"none is asked for", 10, "", 0, false},
		{"a number", 10, "2", 2, false},
		{"a part, rounded up", 10, "25%", 3, false},
		{"the least part is one", 10, "1%", 1, false},
		{"as many beside them", 10, "100%", 10, false},
		{"never more than that", 10, "50", 10, false},
		{"of none there is none", 0, "2", 0, false},
		{"zero rolls out at once", 10, "0", 0, false},
		{"what cannot be read is one", 10, "a few", 1, true},
		{"nor can this", 10, "-1", 1, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := canaries(with(web(c.replicas, "a", 1, 0), canaryReplicas, c.text))
			if got != c.want || (err != nil) != c.bad {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
}

func TestDecideWithCanaries(t *testing.T) {
	t.Parallel()
	const waits, timedOut = reasonCanaryWaits, reasonTimedOut
	cases := []struct {
		name   string
		world  func() (*appsv1.Deployment, []*appsv1.ReplicaSet)
		want   string
		states string
		spec   string // image of the deployment that is written and its wish to promote, if it is
		reason string // of the condition Progressing afterwards; "": not written
		events []string
	}{
		{name: "the first template is not tried: nothing serves beside it", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			return with(web(3, "a", 1, 0), canaryReplicas, "1"), nil
		}, want: "create r1:3", states: "r1 promoted", reason: reasonNewSet, events: []string{"Scaled up replica set web-5854c7b4ff from 0 to 3"}},
		{name: "what is complete is stable", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "a", 1, 0), canaryReplicas, "1")
			s := set(d, "a", 1, 3, 3, 3)
			return settled(d, s), []*appsv1.ReplicaSet{s}
		}, want: "update r1:3", states: "r1 stable"},
		{name: "a new template gets its canaries, and the old set stays as it is", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(10, "b", 3, 2), canaryReplicas, "20%")
			o := known(set(d, "a", 1, 10, 10, 10), stateStable)
			return settled(d, o), []*appsv1.ReplicaSet{o}
		}, want: "create r2:2", states: "r2 canary", reason: reasonNewSet},
		{name: "as well when it is the first that the deployment asks for", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(10, "b", 3, 2), canaryReplicas, "2")
			o := set(d, "a", 1, 10, 10, 10)
			return settled(d, o), []*appsv1.ReplicaSet{o}
		}, want: "create r2:2", states: "r2 canary", reason: reasonNewSet},
		{name: "a number that cannot be read is one canary, and the event says so", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(10, "b", 3, 2), canaryReplicas, "some")
			o := known(set(d, "a", 1, 10, 10, 10), stateStable)
			return settled(d, o), []*appsv1.ReplicaSet{o}
		}, want: "create r2:1", states: "r2 canary", reason: reasonNewSet, events: []string{`canary.kubus.dev/replicas: "some" is no number of pods and no percentage`}},
		{name: "canaries that are not available yet are waited for", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryPromote, "true")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 0), stateCanary)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}},
		{name: "available canaries wait for somebody", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), stateCanary)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, reason: waits},
		{name: "a wish promotes them, and is taken away", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryPromote, "true")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), stateCanary)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:1", states: "r2 promoted", spec: "b ", events: []string{"Promoted replica set web-58dc5d8bbb"}},
		{name: "a wish may name the template", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryPromote, "58dc5d8bbb")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), stateCanary)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:1", states: "r2 promoted", spec: "b "},
		{name: "a wish for another template is none", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryPromote, "0123456789")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), stateCanary)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, spec: "b ", events: []string{`There is no canary that canary.kubus.dev/promote="0123456789" could mean`}},
		{name: "a wish does not wait for the next template", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryPromote, "true")
			o := known(set(d, "a", 1, 3, 3, 3), stateStable)
			return settled(d, o), []*appsv1.ReplicaSet{o}
		}, spec: "b ", events: []string{`There is no canary that canary.kubus.dev/promote="true" could mean`}},
		{name: "a wish that a crash left behind is taken away without a word", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryPromote, "true")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), statePromoted)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, spec: "b "},
		{name: "they may promote themselves", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryAutoPromote, "true")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), stateCanary)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:1", states: "r2 promoted", reason: reasonSetUpdated},
		{name: "what is promoted rolls out as ever", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), statePromoted)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, want: "update r1:2", states: "r1 stable", reason: reasonSetUpdated},
		{name: "a canary that fails while it waits has its time again", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 0), stateCanary)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, reason: reasonSetUpdated},
		{name: "without progress they stay, when nobody said otherwise", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 0), stateCanary)
			return told(settled(d, o, n), "False", timedOut), []*appsv1.ReplicaSet{o, n}
		}},
		{name: "without progress the old template comes back, when somebody did", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryAutoRevert, "true", canaryPromote, "true")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 0), stateCanary)
			return told(settled(d, o, n), "False", timedOut), []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:1", states: "r2 failed", spec: "a ", events: []string{
			`ReplicaSet "web-58dc5d8bbb" has timed out progressing.`, `Rolled back deployment "web" to revision 1`}},
		{name: "so it does in the middle of the rollout, without canaries too", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryAutoRevert, "true")
			o, n := known(set(d, "a", 1, 2, 2, 2), stateStable), known(set(d, "b", 2, 2, 2, 1), statePromoted)
			return told(settled(d, o, n), "False", timedOut), []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:2", states: "r2 failed", spec: "a "},
		{name: "and back to what served before it was asked for", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "c", 1, 0), canaryReplicas, "1", canaryAutoRevert, "true")
			a, b, n := set(d, "a", 1, 0, 0, 0), set(d, "b", 2, 3, 3, 3), known(set(d, "c", 3, 1, 1, 0), stateCanary)
			return told(settled(d, a, b, n), "False", timedOut), []*appsv1.ReplicaSet{a, b, n}
		}, want: "update r3:1, update r2:3", states: "r3 failed, r2 stable", spec: "b "},
		{name: "a deadline that another template missed counts for nothing", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "c", 1, 0), canaryReplicas, "1", canaryAutoRevert, "true")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "c", 3, 1, 1, 0), stateCanary)
			return missed(settled(d, o, n), "b"), []*appsv1.ReplicaSet{o, n}
		}, reason: reasonSetUpdated},
		{name: "after that the old set is there as before and the failed one goes", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "a", 1, 0), canaryReplicas, "1", canaryAutoRevert, "true")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 0), stateFailed)
			return missed(settled(d, o, n), "b"), []*appsv1.ReplicaSet{o, n}
		}, want: "update r3:3, update r2:0", states: "r3 stable, r2 failed", reason: reasonSetUpdated},
		{name: "a template that served once is not given up", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryAutoRevert, "true")
			o, n := known(set(d, "a", 1, 0, 0, 0), stateStable), known(set(d, "b", 2, 3, 3, 1), stateStable)
			return told(settled(d, o, n), "False", timedOut), []*appsv1.ReplicaSet{o, n}
		}},
		{name: "a failed template that is wished again is tried again", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "1", canaryAutoRevert, "true")
			o, n := known(set(d, "a", 3, 3, 3, 3), stateStable), known(set(d, "b", 2, 0, 0, 0), stateFailed)
			return missed(settled(d, o, n), "b"), []*appsv1.ReplicaSet{o, n}
		}, want: "update r4:1", states: "r4 canary", reason: reasonSetUpdated},
		{name: "a template that was promoted before needs no canaries", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "a", 1, 0), canaryReplicas, "1")
			o, n := known(set(d, "a", 1, 0, 0, 0), stateStable), known(set(d, "b", 2, 3, 3, 3), stateStable)
			return settled(d, n), []*appsv1.ReplicaSet{o, n}
		}, want: "update r3:1", states: "r3 stable"},
		{name: "another template takes the place of one that is tried", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "c", 1, 0), canaryReplicas, "1")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), stateCanary)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, want: "create r3:1, update r2:0", states: "r3 canary, r2 canary", reason: reasonNewSet},
		{name: "another template in the middle of a rollout holds both sides", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(4, "c", 1, 0), canaryReplicas, "1")
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 2, 2, 1), statePromoted)
			return settled(d, o, n), []*appsv1.ReplicaSet{o, n}
		}, want: "create r3:1, update r1:2", states: "r3 canary, r1 stable", reason: reasonNewSet},
		{name: "scaling goes to the old set", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(10, "b", 1, 0), canaryReplicas, "20%")
			o, n := known(set(d, "a", 1, 10, 10, 10), stateStable), known(set(d, "b", 2, 2, 2, 2), stateCanary)
			told(settled(d, o, n), "True", waits)
			twenty := int32(20)
			d.Spec.Replicas = &twenty
			return d, []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:4, update r1:20", states: "r2 canary, r1 stable", reason: reasonSetUpdated},
		{name: "scaling a paused one too", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(10, "b", 1, 0), canaryReplicas, "2")
			o, n := known(set(d, "a", 1, 10, 10, 10), stateStable), known(set(d, "b", 2, 2, 2, 2), stateCanary)
			told(settled(d, o, n), "Unknown", reasonPaused)
			five := int32(5)
			d.Spec.Replicas, d.Spec.Paused = &five, true
			return d, []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:2, update r1:5", states: "r2 canary, r1 stable"},
		{name: "scaling to nothing promotes nobody", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(0, "b", 1, 0), canaryReplicas, "2", canaryAutoPromote, "true")
			o, n := known(set(d, "a", 1, 0, 0, 0), stateStable), known(set(d, "b", 2, 0, 0, 0), stateCanary)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, reason: reasonSetUpdated},
		{name: "and back again tries it still", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 1, 0), canaryReplicas, "2")
			o, n := known(set(d, "a", 1, 0, 0, 0), stateStable), known(set(d, "b", 2, 0, 0, 0), stateCanary)
			return told(settled(d, o, n), "True", reasonSetUpdated), []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:2, update r1:3", states: "r2 canary, r1 stable"},
		{name: "who asks for no canaries any more has the template rolled out", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := web(3, "b", 1, 0)
			o, n := known(set(d, "a", 1, 3, 3, 3), stateStable), known(set(d, "b", 2, 1, 1, 1), stateCanary)
			return told(settled(d, o, n), "True", waits), []*appsv1.ReplicaSet{o, n}
		}, want: "update r1:2", states: "r1 stable", reason: reasonSetUpdated},
		{name: "recreate knows no canaries", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 0, 0), canaryReplicas, "1")
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
			o := known(set(d, "a", 1, 0, 0, 0), stateStable)
			return settled(d, o), []*appsv1.ReplicaSet{o}
		}, want: "create r2:3", states: "r2 promoted", reason: reasonNewSet},
		{name: "and goes back as well", world: func() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
			d := with(web(3, "b", 0, 0), canaryAutoRevert, "true")
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
			o, n := known(set(d, "a", 1, 0, 0, 0), stateStable), known(set(d, "b", 2, 3, 3, 0), statePromoted)
			return told(settled(d, o, n), "False", timedOut), []*appsv1.ReplicaSet{o, n}
		}, want: "update r2:3", states: "r2 failed", spec: "a "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, sets := c.world()
			got := decide(observed{Deployment: d, Sets: sets}, now)
			if say(got) != c.want || states(got) != c.states {
				t.Errorf("got %q with %q, want %q with %q", say(got), states(got), c.want, c.states)
			}
			spec := ""
			if got.Spec != nil {
				spec = got.Spec.Spec.Template.Spec.Containers[0].Image + " " + got.Spec.Annotations[canaryPromote]
			}
			if spec != c.spec || got.Spec != nil && got.Status != nil {
				t.Errorf("the deployment becomes %q, want %q; with status: %v", spec, c.spec, got.Status != nil)
			}
			reason := ""
			if got.Status != nil {
				reason = condition(&got.Status.Status, appsv1.DeploymentProgressing).Reason
			}
			if c.reason != "" && reason != c.reason {
				t.Errorf("the condition's reason is %q, want %q", reason, c.reason)
			}
			for i, want := range c.events {
				if i >= len(got.Events) || got.Events[i].Message != want {
					t.Errorf("events: got %+v, want %q", got.Events, c.events)
				}
			}
		})
	}
}

func TestWhoAsksForNothingGetsNothing(t *testing.T) {
	t.Parallel()
	d := web(3, "b", 1, 0)
	sets := []*appsv1.ReplicaSet{set(d, "a", 1, 3, 3, 3)}
	settled(d, sets...)
	for step := range 200 {
		p := decide(observed{Deployment: d, Sets: sets}, now)
		if states(p) != "" || p.Spec != nil {
			t.Fatalf("step %d: %s", step, states(p))
		}
		sets = carryOut(d, sets, p)
		movePods(sets, step)
	}
	for _, s := range sets {
		for key := range s.Annotations {
			if strings.HasPrefix(key, "canary.kubus.dev/") {
				t.Errorf("%s has %s", s.Name, key)
			}
		}
	}
}

// A whole story for every size: canaries beside all old pods, then a promotion, then a
// roll that keeps its bounds; or no progress, and back.
func TestCanariesFromEndToEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		replicas, surge, unavailable int32
		canary                       string
		count                        int32
		broken                       bool
	}{
		{1, 1, 0, "1", 1, false}, {3, 1, 0, "1", 1, false}, {10, 3, 2, "20%", 2, false}, {10, 0, 3, "100%", 10, false},
		{3, 1, 0, "1", 1, true}, {10, 3, 2, "50%", 5, true},
	} {
		d := with(web(c.replicas, "a", c.surge, c.unavailable), canaryReplicas, c.canary, canaryAutoRevert, "true")
		sets := []*appsv1.ReplicaSet{known(set(d, "a", 1, c.replicas, c.replicas, c.replicas), stateStable)}
		settled(d, sets...)
		d.Spec.Template = template("b")
		at, promoted, reverted, tried := now, false, false, int32(0)
		for step := 0; ; step++ {
			if step > 2000 {
				t.Fatalf("%+v: it does not end: %s", c, describe(sets))
			}
			p := decide(observed{Deployment: d, Sets: sets}, at)
			sets = carryOut(d, sets, p)
			if p.Spec != nil {
				reverted = reverted || p.Spec.Spec.Template.Spec.Containers[0].Image == "a"
				d.Spec, d.Annotations = p.Spec.Spec, p.Spec.Annotations
				d.Generation++
			}
			newest, old := split(d, sets)
			if newest != nil && state(newest) == stateCanary {
				tried = max(tried, *newest.Spec.Replicas)
				if wished(old) != c.replicas || *newest.Spec.Replicas > c.count {
					t.Fatalf("%+v: while it is tried: %s", c, describe(sets))
				}
			}
			if pr := condition(&d.Status, appsv1.DeploymentProgressing); pr != nil && pr.Reason == reasonCanaryWaits && !promoted {
				promoted = true
				d.Annotations[canaryPromote] = "true"
			}
			moved := movePods(slices.DeleteFunc(slices.Clone(sets), func(s *appsv1.ReplicaSet) bool {
				return c.broken && s.Spec.Template.Spec.Containers[0].Image == "b" && s.Status.Replicas == *s.Spec.Replicas
			}), step)
			if ready := available(sets); ready < c.replicas-c.unavailable {
				t.Fatalf("%+v: only %d available: %s", c, ready, describe(sets))
			}
			if p.Status == nil && p.Spec == nil && say(p) == "" && !moved && d.Annotations[canaryPromote] == "" {
				if deadline := deadlineCheck(d, &d.Status, at); deadline > 0 {
					at = at.Add(deadline)
					continue
				}
				break
			}
			at = at.Add(time.Second)
		}
		newest, _ := split(d, sets)
		image := map[bool]string{false: "b", true: "a"}[c.broken]
		if newest == nil || newest.Spec.Template.Spec.Containers[0].Image != image || newest.Status.AvailableReplicas != c.replicas || wished(sets) != c.replicas || !complete(d, &d.Status) {
			t.Errorf("%+v: ended with %s", c, describe(sets))
		}
		if tried != c.count || promoted == c.broken || reverted != c.broken || state(newest) != stateStable {
			t.Errorf("%+v: tried with %d, promoted %v, reverted %v, in the end %s", c, tried, promoted, reverted, state(newest))
		}
	}
}
