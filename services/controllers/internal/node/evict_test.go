package node

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func bearing(key string, seconds int64) corev1.Toleration {
	return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds}
}

// evicting runs the eviction over a node n, whose taints are what with gives.
func evicting(t *testing.T, pods []*corev1.Pod, story func(a *api, with func(taints ...string))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		with := func(taints ...string) {
			n := newNode("True", taints...)
			n.Name = "n"
			a.put(n)
			synctest.Wait()
		}
		with()
		for _, p := range pods {
			a.put(p)
		}
		ctx, cancel := context.WithCancel(t.Context())
		e := a.env(t, ctx)
		loop, err := Eviction().Make(e)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); _ = loop.Run(ctx, 4) }()
		synctest.Wait()
		story(a, with)
		cancel()
		<-ended
		e.End()
		synctest.Wait()
	})
}

func (a *api) pods() (names string) {
	for _, name := range []string{"none", "short", "long", "ever"} {
		if a.world.Pods.Get("default", name) != nil {
			names += name + " "
		}
	}
	return strings.TrimSpace(names)
}

func tolerant() []*corev1.Pod {
	return []*corev1.Pod{
		readyPod("none", "n"),
		readyPod("short", "n", bearing("bad", 60), bearing("worse", 20)),
		readyPod("long", "n", bearing("bad", 300), bearing("worse", 300)),
		readyPod("ever", "n", corev1.Toleration{Operator: corev1.TolerationOpExists}),
	}
}

func TestPodsLeaveATaintedNodeWhenTheirTimeIsOver(t *testing.T) {
	evicting(t, tolerant(), func(a *api, with func(...string)) {
		with("bad NoSchedule")
		time.Sleep(time.Hour)
		if got := a.pods(); got != "none short long ever" {
			t.Errorf("another effect evicts nobody, and %q are left", got)
		}
		with("bad NoExecute")
		for _, step := range []struct {
			after time.Duration
			left  string
		}{{0, "short long ever"}, {59 * time.Second, "short long ever"}, {2 * time.Second, "long ever"}, {238 * time.Second, "long ever"}, {2 * time.Second, "ever"}, {time.Hour, "ever"}} {
			time.Sleep(step.after)
			synctest.Wait()
			if got := a.pods(); got != step.left {
				t.Errorf("%v later %q are left, want %q", step.after, got, step.left)
			}
		}
	})
}

func TestOfSeveralTaintsTheShortestTimeCounts(t *testing.T) {
	evicting(t, tolerant(), func(a *api, with func(...string)) {
		with("bad NoExecute", "worse NoExecute")
		time.Sleep(21 * time.Second)
		if got := a.pods(); got != "long ever" {
			t.Errorf("%q are left", got)
		}
	})
}

func TestWhenTheTaintGoesPodsStayAndTheirTimeBeginsAnew(t *testing.T) {
	evicting(t, tolerant()[1:], func(a *api, with func(...string)) {
		with("bad NoExecute")
		time.Sleep(50 * time.Second)
		with()
		time.Sleep(time.Minute)
		if got := a.pods(); got != "short long ever" {
			t.Fatalf("%q are left", got)
		}
		cancelled := 0
		for _, e := range a.events {
			if strings.HasPrefix(e, "TaintManagerEviction: Cancelling deletion of Pod default/") {
				cancelled++
			}
		}
		if cancelled != 2 {
			t.Errorf("want two cancellations, got %v", a.events)
		}
		with("bad NoExecute")
		time.Sleep(50 * time.Second)
		if got := a.pods(); got != "short long ever" {
			t.Errorf("the time before counts: %q are left", got)
		}
	})
}

func TestAPodThatComesToATaintedNodeLeavesToo(t *testing.T) {
	evicting(t, nil, func(a *api, with func(...string)) {
		with("bad NoExecute")
		a.put(readyPod("short", "n", bearing("bad", 60)))
		time.Sleep(59 * time.Second)
		if got := a.pods(); got != "short" {
			t.Errorf("%q are left", got)
		}
		time.Sleep(2 * time.Second)
		if got := a.pods(); got != "" {
			t.Errorf("%q are left", got)
		}
	})
}
