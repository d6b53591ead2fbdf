package node

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The cluster's range has two parts here.
func TestNodesGetRangesAndGiveThemBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAPI()
		old := readyNode("old", "")
		old.Spec.PodCIDR, old.Spec.PodCIDRs = "10.0.1.0/24", []string{"10.0.1.0/24"}
		a.put(old)
		a.put(readyNode("new", ""))
		ctx, cancel := context.WithCancel(t.Context())
		e := a.env(t, ctx)
		loop, err := Addresses().Make(e)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); _ = loop.Run(ctx, 1) }()
		synctest.Wait()
		if got := a.node("new").Spec; got.PodCIDR != "10.0.0.0/24" || len(got.PodCIDRs) != 1 {
			t.Errorf("new has %q of %v, want what is left", got.PodCIDR, got.PodCIDRs)
		}
		a.put(readyNode("late", ""))
		a.put(readyNode("later", ""))
		time.Sleep(time.Hour)
		if got := a.node("late").Spec.PodCIDR + a.node("later").Spec.PodCIDR; got != "" {
			t.Errorf("none is left, and they have %s", got)
		}
		a.mu.Lock()
		a.revision++
		a.world.Nodes.Drop(a.revision, "", "old")
		a.mu.Unlock()
		time.Sleep(time.Minute)
		if got := a.node("late").Spec.PodCIDR + a.node("later").Spec.PodCIDR; got != "10.0.1.0/24" {
			t.Errorf("one is free again, and they have %q", got)
		}
		told := 0
		for _, e := range a.events {
			if strings.HasPrefix(e, "CIDRNotAvailable: Node late") && strings.HasSuffix(e, "status is now: CIDRNotAvailable") {
				told++
			}
		}
		if told != 2 {
			t.Errorf("both were told once: %v", a.events)
		}
		cancel()
		<-ended
		e.End()
		synctest.Wait()
	})
}

func TestANodeThatIsGoneBeforeItsRangeIsWrittenKeepsNone(t *testing.T) {
	a := newAPI()
	e := a.env(t, t.Context())
	ranges, err := Ranges("10.0.0.0/23", 24, 64)
	if err != nil {
		t.Fatal(err)
	}
	al := &allocator{world: a.world, events: e.Events, logger: e.Logger, book: newBook(ranges)}
	if _, err := al.book.Give("gone"); err != nil {
		t.Fatal(err)
	}
	al.gone("gone")
	if al.book.families[0].count != 0 {
		t.Error("its range is taken")
	}
	a.put(&corev1.Node{ObjectMeta: readyNode("there", "").ObjectMeta})
	if _, err := al.book.Give("there"); err != nil {
		t.Fatal(err)
	}
	al.gone("there")
	if al.book.families[0].count != 1 {
		t.Error("a node that is there again lost what it is given")
	}
}
