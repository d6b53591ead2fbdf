package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestASilentNodeIsGivenUpAndComesBack(t *testing.T) {
	a := newAPI()
	a.put(readyNode("well", ""))
	a.put(readyNode("lost", ""))
	a.put(readyPod("web", "lost"))
	living(t, a, answers, func(l *lifecycle) {
		beating(l, grace-time.Second, "well")
		if got := a.ready("lost"); got != "True" {
			t.Errorf("within its grace it is %s", got)
		}
		beating(l, 2*time.Second, "well")
		if got := a.ready("lost"); got != "Unknown unreachable" {
			t.Errorf("after its grace it is %s", got)
		}
		if p := a.world.Pods.Get("default", "web"); p.Status.Conditions[0].Status != corev1.ConditionFalse {
			t.Error("its pod is ready")
		}
		back := a.node("lost").DeepCopy()
		back.Status = newNode("True").Status
		back.Status.Conditions[0].LastHeartbeatTime.Time = time.Now()
		a.put(back)
		beating(l, 10*time.Minute, "well", "lost")
		if got := a.ready("lost"); got != "True" || len(a.node("lost").Spec.Taints) != 0 {
			t.Errorf("back again it is %s, with taints %v", got, a.node("lost").Spec.Taints)
		}
	})
}

// The pods of a node are mirrored without much of what their containers say: a write of
// the whole would take that away.
func TestOfAPodNothingButTheConditionIsWritten(t *testing.T) {
	a := newAPI()
	a.put(readyNode("lost", ""))
	a.put(readyPod("web", "lost"))
	living(t, a, answers, func(l *lifecycle) {
		beating(l, grace+time.Second)
		for i, what := range a.written {
			if !strings.Contains(what, "/pods/") {
				continue
			}
			if what != "PATCH /api/v1/namespaces/default/pods/web/status" || strings.Contains(a.bodies[i], "containerStatuses") {
				t.Errorf("%s with %s", what, a.bodies[i])
			}
		}
		if a.world.Pods.Get("default", "web").Status.Phase != corev1.PodRunning {
			t.Error("its phase is gone")
		}
	})
}

func TestEveryNodeHasAFullGraceAfterAnInterruption(t *testing.T) {
	for name, tt := range map[string]struct {
		interrupt func(l *lifecycle)
	}{
		"the bus is back":        {func(l *lifecycle) { l.graceAll() }},
		"a ready node came back": {func(l *lifecycle) { l.zone(nil, readyNode("x", "")); l.zone(readyNode("x", ""), nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI()
			names := []string{"n1", "n2", "n3"}
			for _, n := range names {
				a.put(readyNode(n, ""))
			}
			if strings.HasPrefix(name, "a ready node") {
				for _, n := range names {
					node := newNode("False")
					node.Name = n
					a.put(node)
				}
			}
			living(t, a, answers, func(l *lifecycle) {
				time.Sleep(grace - time.Second) // silent nearly for long enough
				tt.interrupt(l)
				time.Sleep(grace - time.Second)
				synctest.Wait()
				for _, n := range names {
					if got := a.ready(n); strings.HasPrefix(got, "Unknown") {
						t.Errorf("%s is %s before its new grace is over", n, got)
					}
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				for _, n := range names {
					if got := a.ready(n); got != "Unknown" {
						t.Errorf("%s is %s after it, and all are silent", n, got)
					}
				}
			})
		})
	}
}

func TestEveryNodeHasAFullGraceInANewTerm(t *testing.T) {
	a := newAPI()
	a.put(readyNode("n1", ""))
	for range 3 { // leaders come and go, and none hears of the node
		living(t, a, answers, func(*lifecycle) { time.Sleep(grace - time.Second) })
		if got := a.ready("n1"); got != "True" {
			t.Fatalf("it is %s", got)
		}
	}
}

func TestASilenceOfTheBusIsNotTheNodes(t *testing.T) {
	a := newAPI()
	a.put(readyNode("n1", ""))
	a.put(readyNode("n2", ""))
	cut := true
	hears := func(context.Context) error {
		if cut {
			return errors.New("no answer")
		}
		return nil
	}
	living(t, a, hears, func(l *lifecycle) {
		time.Sleep(10 * grace)
		synctest.Wait()
		if len(a.written) != 0 {
			t.Fatalf("while the bus does not answer: %v", a.written)
		}
		cut = false
		beating(l, 2*grace, "n1", "n2")
		if len(a.written) != 0 {
			t.Fatalf("all nodes beat: %v", a.written)
		}
	})
}

func TestWhatWaitedInTheBusCounts(t *testing.T) {
	a := newAPI()
	a.put(readyNode("n1", ""))
	var l *lifecycle
	hears := func(context.Context) error {
		l.beat("n1")
		return nil
	}
	living(t, a, hears, func(made *lifecycle) {
		l = made
		time.Sleep(10 * grace)
		synctest.Wait()
		if len(a.written) != 0 {
			t.Fatalf("its heartbeat came late, and in time: %v", a.written)
		}
	})
}

func TestNodesOfAZoneAreEmptiedOneAfterTheOther(t *testing.T) {
	a := newAPI()
	well := []string{"a1", "a2", "a3", "b1", "b2"}
	for _, name := range append(well, "a4", "a5", "b3") {
		a.put(readyNode(name, name[:1]))
	}
	tainted := func() (names string) {
		for _, name := range []string{"a4", "a5", "b3"} {
			if strings.Contains(a.ready(name), "unreachable") {
				names += name + " "
			}
		}
		return names
	}
	living(t, a, answers, func(l *lifecycle) {
		beating(l, grace+time.Second, well...)
		first := tainted()
		if first != "a4 b3 " && first != "a5 b3 " {
			t.Errorf("at first %q, want one of each zone", first)
		}
		beating(l, 8*time.Second, well...)
		if got := tainted(); got != first {
			t.Errorf("before its turn: %q", got)
		}
		beating(l, 2*time.Second, well...)
		if got := tainted(); got != "a4 a5 b3 " {
			t.Errorf("in the end %q", got)
		}
		if got := a.ready("a4"); got != "Unknown unreachable" {
			t.Errorf("a4 is %s", got)
		}
	})
}

func TestWhenTheLastNodeIsLostNobodyIsEvicted(t *testing.T) {
	a := newAPI()
	a.put(readyNode("n1", "a"))
	a.put(readyNode("n2", "b"))
	living(t, a, answers, func(l *lifecycle) {
		beating(l, 2*grace, "n2")
		if got := a.ready("n1"); got != "Unknown unreachable" {
			t.Errorf("n1 is %s", got)
		}
		beating(l, 2*grace)
		if one, two := a.ready("n1"), a.ready("n2"); one != "Unknown" || two != "Unknown" {
			t.Errorf("n1 is %s, n2 is %s", one, two)
		}
	})
}
