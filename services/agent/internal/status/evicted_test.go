package status

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestAnEvictionIsToldWhenNothingRunsAnyMore(t *testing.T) {
	t.Parallel()
	p := pod(corev1.RestartPolicyAlways)
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "PreemptionByScheduler"}}
	in := Input{Pod: p, Previous: &corev1.PodStatus{Phase: corev1.PodRunning}, Containers: map[string]Container{"a": running, "b": running}, SandboxReady: true, Now: now,
		Failure: &Failure{Reason: "Evicted", Message: "too big", Evicted: true}}
	targets := func(s corev1.PodStatus) (out []corev1.PodCondition) {
		for _, c := range s.Conditions {
			if c.Type == corev1.DisruptionTarget {
				out = append(out, c)
			}
		}
		return out
	}
	s := Generate(in)
	if s.Phase != corev1.PodRunning || s.Reason != "" || targets(s)[0].Reason != "PreemptionByScheduler" {
		t.Errorf("its containers run, and it is %s, %q, %+v", s.Phase, s.Reason, targets(s))
	}

	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	in.Previous, in.Containers = &s, map[string]Container{"a": ok, "b": ok}
	if s := Generate(in); s.Phase != corev1.PodRunning {
		t.Errorf("its containers have obeyed and not all is over, and it is %s", s.Phase)
	}
	in.Terminal, in.SandboxReady = true, false
	told := Generate(in)
	got := targets(told)
	if told.Phase != corev1.PodFailed || told.Reason != "Evicted" || told.Message != "too big" || len(got) != 1 ||
		got[0].Reason != "TerminationByKubelet" || got[0].Message != "too big" || got[0].ObservedGeneration != 3 || got[0].Status != corev1.ConditionTrue {
		t.Errorf("it has ended, and is %s, %q, %q, %+v", told.Phase, told.Reason, told.Message, got)
	}

	later := Generate(Input{Pod: p, Previous: &told, Terminal: true, Now: now.Add(time.Hour)}) // its containers are gone, and so is the agent that evicted it
	if later.Phase != corev1.PodFailed || later.Reason != "Evicted" || later.Message != "too big" || !slices.Equal(targets(later), got) {
		t.Errorf("later it is %s, %q, %q, %+v", later.Phase, later.Reason, later.Message, targets(later))
	}
	if s := later.ContainerStatuses[0].State.Terminated; s == nil || s.Reason != "Completed" {
		t.Errorf("what its container was is lost: %+v", later.ContainerStatuses[0])
	}
}

func TestAPodThatBrokeItsOwnLimitIsNotDisrupted(t *testing.T) {
	t.Parallel()
	p := pod(corev1.RestartPolicyAlways)
	s := Generate(Input{Pod: p, Previous: &corev1.PodStatus{Phase: corev1.PodRunning}, Containers: map[string]Container{"a": ok, "b": ok}, Terminal: true, Now: now,
		Failure: &Failure{Reason: "Evicted", Message: "too big", Evicted: true, Own: true}})
	if s.Phase != corev1.PodFailed || s.Reason != "Evicted" || slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget }) {
		t.Errorf("status %+v", s)
	}
}
