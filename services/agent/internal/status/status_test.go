package status

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"kubus.dev/services/agent/internal/runtime"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func record(state runtime.ContainerState, attempt, code int) *Record {
	r := &Record{ContainerStatus: runtime.ContainerStatus{ID: "id", Attempt: attempt, State: state, StartedAt: now, ExitCode: code, ImageRef: "ref"}}
	if state == runtime.ContainerExited {
		r.FinishedAt, r.Reason = now, runtime.ReasonError
		if code == 0 {
			r.Reason = runtime.ReasonCompleted
		}
	}
	return r
}

func pod(policy corev1.RestartPolicy, init ...corev1.Container) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy, InitContainers: init, Containers: []corev1.Container{{Name: "a", Image: "img"}, {Name: "b", Image: "img"}}}}
	p.Generation = 3
	return p
}

var (
	running = Container{Newest: record(runtime.ContainerRunning, 0, 0), Started: true, Ready: true}
	unready = Container{Newest: record(runtime.ContainerRunning, 0, 0), Started: true}
	ok      = Container{Newest: record(runtime.ContainerExited, 0, 0)}
	bad     = Container{Newest: record(runtime.ContainerExited, 0, 1)}
	looping = Container{Newest: record(runtime.ContainerExited, 2, 1), Waiting: &Reason{"CrashLoopBackOff", "back-off"}}
)

func TestPhaseAndReady(t *testing.T) {
	t.Parallel()
	initial := corev1.Container{Name: "i"}
	for name, c := range map[string]struct {
		pod      *corev1.Pod
		known    map[string]Container
		terminal bool
		failure  *Failure
		phase    corev1.PodPhase
		ready    bool
	}{
		"nothing yet":                           {pod: pod(corev1.RestartPolicyAlways), phase: corev1.PodPending},
		"one of two runs":                       {pod: pod(corev1.RestartPolicyAlways), known: map[string]Container{"a": running}, phase: corev1.PodPending},
		"both run":                              {pod: pod(corev1.RestartPolicyAlways), known: map[string]Container{"a": running, "b": running}, phase: corev1.PodRunning, ready: true},
		"one is not ready":                      {pod: pod(corev1.RestartPolicyAlways), known: map[string]Container{"a": running, "b": unready}, phase: corev1.PodRunning},
		"one crashes again and again":           {pod: pod(corev1.RestartPolicyAlways), known: map[string]Container{"a": running, "b": looping}, phase: corev1.PodRunning},
		"all crash and will restart":            {pod: pod(corev1.RestartPolicyAlways), known: map[string]Container{"a": bad, "b": looping}, phase: corev1.PodRunning},
		"all succeeded for good":                {pod: pod(corev1.RestartPolicyNever), known: map[string]Container{"a": ok, "b": ok}, terminal: true, phase: corev1.PodSucceeded},
		"one failed for good":                   {pod: pod(corev1.RestartPolicyNever), known: map[string]Container{"a": ok, "b": bad}, terminal: true, phase: corev1.PodFailed},
		"one starts anew though it succeeded":   {pod: pod(corev1.RestartPolicyOnFailure), known: map[string]Container{"a": {Newest: ok.Newest, Again: true}, "b": {Newest: ok.Newest, Again: true}}, phase: corev1.PodRunning},
		"one failed, the other runs":            {pod: pod(corev1.RestartPolicyNever), known: map[string]Container{"a": running, "b": bad}, phase: corev1.PodRunning},
		"an init container runs":                {pod: pod(corev1.RestartPolicyAlways, initial), known: map[string]Container{"i": running}, phase: corev1.PodPending},
		"an init container failed for good":     {pod: pod(corev1.RestartPolicyNever, initial), known: map[string]Container{"i": bad}, phase: corev1.PodFailed},
		"an init container failed, and repeats": {pod: pod(corev1.RestartPolicyAlways, initial), known: map[string]Container{"i": bad}, phase: corev1.PodPending},
		"a deleted pod whose containers obeyed": {pod: pod(corev1.RestartPolicyAlways), known: map[string]Container{"a": ok, "b": ok}, terminal: true, phase: corev1.PodSucceeded},
		"a pod past its deadline":               {pod: pod(corev1.RestartPolicyAlways), known: map[string]Container{"a": running, "b": running}, failure: &Failure{Reason: "DeadlineExceeded"}, phase: corev1.PodFailed},
		"a pod that the node refused":           {pod: pod(corev1.RestartPolicyAlways), failure: &Failure{Reason: "OutOfcpu", Rejected: true}, phase: corev1.PodFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := Input{Pod: c.pod, Previous: &corev1.PodStatus{}, Containers: c.known, Terminal: c.terminal, Failure: c.failure, SandboxReady: true, Now: now}
			got := Generate(in)
			if got.Phase != c.phase {
				t.Errorf("phase %s, want %s", got.Phase, c.phase)
			}
			if r := condition(got.Conditions, corev1.PodReady); (r.Status == corev1.ConditionTrue) != c.ready || r.ObservedGeneration != 3 {
				t.Errorf("Ready %+v, want %v", r, c.ready)
			}
			in.Previous, in.Now = &got, now.Add(time.Hour)
			if again := Generate(in); c.failure == nil && !equality.Semantic.DeepEqual(again, got) {
				t.Errorf("a second run changed it:\n%+v\n%+v", got, again)
			}
		})
	}
}

func TestContainerStates(t *testing.T) {
	t.Parallel()
	p := pod(corev1.RestartPolicyAlways)
	generate := func(prev *corev1.PodStatus, a Container) corev1.ContainerStatus {
		s := Generate(Input{Pod: p, Previous: prev, Containers: map[string]Container{"a": a, "b": running}, SandboxReady: true, Now: now})
		return s.ContainerStatuses[0]
	}
	none := &corev1.PodStatus{}
	if s := generate(none, Container{Newest: record(runtime.ContainerRunning, 0, 0), Starting: true}); s.State.Waiting == nil || s.State.Waiting.Reason != ContainerCreating {
		t.Errorf("a container whose hook runs is shown: %+v", s.State)
	}
	if s := generate(none, Container{Newest: record(runtime.ContainerRunning, 1, 0), Last: record(runtime.ContainerExited, 0, 9), Started: true, Ready: true}); s.RestartCount != 1 || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 9 || !s.Ready {
		t.Errorf("a restarted container: %+v", s)
	}
	s := generate(none, looping)
	if s.State.Waiting == nil || s.State.Waiting.Reason != "CrashLoopBackOff" || s.LastTerminationState.Terminated.ExitCode != 1 || s.RestartCount != 2 {
		t.Errorf("a crash loop: %+v", s)
	}
	lost := &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "a", RestartCount: 1, ContainerID: "kubus://x", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	if s := generate(lost, Container{}); s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.Reason != runtime.ReasonUnknown || s.RestartCount != 2 {
		t.Errorf("a container that is lost: %+v", s)
	}
}

func TestForeignConditionsAndGates(t *testing.T) {
	t.Parallel()
	p := pod(corev1.RestartPolicyAlways)
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}}
	in := Input{Pod: p, Previous: &corev1.PodStatus{}, Containers: map[string]Container{"a": running, "b": running}, SandboxReady: true, Now: now}
	s := Generate(in)
	if c := condition(s.Conditions, corev1.PodReady); c.Status != corev1.ConditionFalse || c.Message != `corresponding condition of pod readiness gate "example.com/gate" does not exist.` {
		t.Errorf("without the gate: %+v", c)
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: "example.com/gate", Status: corev1.ConditionTrue}}
	s = Generate(in)
	if c := condition(s.Conditions, corev1.PodReady); c.Status != corev1.ConditionTrue {
		t.Errorf("with the gate: %+v", c)
	}
	if condition(s.Conditions, "example.com/gate") == nil {
		t.Error("a condition of somebody else was dropped")
	}
}

func TestTheFirstRuleThatFitsDecides(t *testing.T) {
	t.Parallel()
	never := corev1.ContainerRestartPolicyNever
	on := func(action corev1.ContainerRestartRuleAction, codes ...int32) corev1.ContainerRestartRule {
		return corev1.ContainerRestartRule{Action: action, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: codes}}
	}
	c := &corev1.Container{RestartPolicy: &never, RestartPolicyRules: []corev1.ContainerRestartRule{
		on(corev1.ContainerRestartRuleActionRestart, 1, 2), on(corev1.ContainerRestartRuleActionRestartAllContainers, 2, 3),
	}}
	for code, want := range map[int32][2]bool{0: {}, 1: {true, false}, 2: {true, false}, 3: {true, true}, 4: {}} {
		if got := [2]bool{Restarts(&corev1.Pod{}, c, code), RestartsAll(c, code)}; got != want {
			t.Errorf("code %d: starts again, all start again %v, want %v", code, got, want)
		}
	}
}

func TestRestarts(t *testing.T) {
	t.Parallel()
	never, onFailure := corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure
	rules := []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestart, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}}}}
	for name, c := range map[string]struct {
		policy corev1.RestartPolicy
		c      corev1.Container
		code   int32
		want   bool
	}{
		"always":                         {corev1.RestartPolicyAlways, corev1.Container{}, 0, true},
		"never":                          {corev1.RestartPolicyNever, corev1.Container{}, 1, false},
		"on failure after failure":       {corev1.RestartPolicyOnFailure, corev1.Container{}, 1, true},
		"on failure after success":       {corev1.RestartPolicyOnFailure, corev1.Container{}, 0, false},
		"the container's policy wins":    {corev1.RestartPolicyAlways, corev1.Container{RestartPolicy: &never}, 1, false},
		"the container's own on failure": {corev1.RestartPolicyNever, corev1.Container{RestartPolicy: &onFailure}, 1, true},
		"a rule for the exit code wins":  {corev1.RestartPolicyNever, corev1.Container{RestartPolicy: &never, RestartPolicyRules: rules}, 42, true},
		"not for another code":           {corev1.RestartPolicyNever, corev1.Container{RestartPolicy: &never, RestartPolicyRules: rules}, 43, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Restarts(pod(c.policy), &c.c, c.code); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
