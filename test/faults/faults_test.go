package faults

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if *report != "" {
		var out bytes.Buffer
		out.WriteString("| row | fault | times | writes acknowledged | unknown | lists | watch events | longest gap | versions unseen | result |\n|---|---|---|---|---|---|---|---|---|---|\n")
		out.WriteString(strings.Join(rows, "\n") + "\n")
		if err := os.WriteFile(*report, out.Bytes(), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// usual is the work of most tests: few objects, so that clients meet.
var usual = load{clients: 16, keys: 12, listEvery: 12}

// some is a moment in which anything may be under way.
func some(most time.Duration) { time.Sleep(most/2 + rand.N(most/2)) }

func TestNothingIsWrongWhereNothingHappens(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 1}, 1)
	v := c.during(usual, 2, func() { time.Sleep(2 * time.Second) })
	c.judge("-", "none", 1, v)
	if v.Unseen != (Unseen{}) || v.Unknown > 0 {
		t.Errorf("with one gateway, and without a fault: %v", v)
	}
}

func TestF1TheGatewayIsKilled(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 1}, 2)
	n := tries(2, 20)
	v := c.during(usual, 1, func() {
		for i := range n {
			some(time.Second)
			g := c.gateways[i%2]
			g.restart()
			g.wait()
		}
		some(time.Second)
	})
	c.judge("F1", "kill -9 of one of two gateways", n, v)
}

func TestF2TheOnlyStoreIsKilled(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 1}, 1)
	n := tries(3, 50)
	v := c.during(usual, 2, func() {
		for range n {
			some(time.Second)
			c.stores[0].restart()
			c.ready()
		}
		some(time.Second)
	})
	c.judge("F2", "kill -9 of the only store", n, v)
}

func TestF4TheLeaderOfThreeStoresIsKilled(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 3}, 2)
	n := tries(1, 10)
	v := c.during(usual, 1, func() {
		for range n {
			some(2 * time.Second)
			leader := c.stores.leader(t)
			leader.kill()
			some(12 * time.Second)
			leader.start()
			leader.wait()
		}
		some(time.Second)
	})
	c.judge("F4", "kill -9 of the leader of three stores", n, v)
	if *long && v.Gap > 15*time.Second {
		t.Errorf("no write was acknowledged for %v", v.Gap)
	}
}

func TestF13TheLeaderIsPaused(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 3}, 2)
	n := tries(1, 5)
	v := c.during(usual, 1, func() {
		for range n {
			some(2 * time.Second)
			leader := c.stores.leader(t)
			leader.signal(syscall.SIGSTOP)
			time.Sleep(15 * time.Second)
			leader.signal(syscall.SIGCONT)
			some(2 * time.Second)
		}
	})
	c.judge("F13", "the leader of three stores stands still for 15 s", n, v)
}

// cutPower has the store lose what is not on its disk.
func cutPower(c *cluster) {
	s := c.stores[0]
	s.signal(syscall.SIGSTOP)
	s.disk.cut(s.kill)
	s.start()
}

func TestF7ThePowerOfTheOnlyStoreFails(t *testing.T) {
	needRoot(t)
	c := newCluster(t, storeOptions{servers: 1, image: true}, 1)
	n := tries(3, 50)
	v := c.during(usual, 2, func() {
		for range n {
			some(time.Second)
			cutPower(c)
			c.ready()
		}
		some(time.Second)
	})
	c.judge("F7", "the power of the only store fails", n, v)
}

// Without this the test above proves nothing: a store that syncs every two minutes must
// lose what it acknowledged, and the checker must say so.
func TestF7AStoreThatDoesNotSyncLosesWrites(t *testing.T) {
	needRoot(t)
	c := newCluster(t, storeOptions{servers: 1, image: true, sync: "2m"}, 1)
	// What was there at the start is on disk.
	c.stores[0].signal(syscall.SIGTERM)
	<-c.stores[0].ended
	c.stores[0].start()
	c.ready()
	v := c.during(load{clients: 4, keys: 4}, 0, func() {
		some(3 * time.Second)
		// The gateway goes as well: it would bring back what it knows.
		for _, g := range c.gateways {
			g.kill()
		}
		cutPower(c)
		c.stores[0].wait()
		for _, g := range c.gateways {
			g.start()
		}
		c.ready()
		some(2 * time.Second)
	})
	t.Log(v)
	if len(v.Problems) == 0 {
		t.Error("nothing was lost that was not on disk: the power was not cut, or the checker is blind")
	}
}

func TestF18ManyWritersOfOneObject(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 1}, 2)
	v := c.during(load{clients: 64, keys: 1, updates: true}, 1, func() { time.Sleep(time.Duration(tries(3, 60)) * time.Second) })
	c.judge("F18", "64 clients write one object by two gateways", 1, v)
	if v.Unknown > 0 {
		t.Errorf("%d writes had no clear answer though nothing failed", v.Unknown)
	}
	if *long && v.Gap > 5*time.Second {
		t.Errorf("no write was acknowledged for %v", v.Gap)
	}
}

func TestF19AcknowledgementsAreLost(t *testing.T) {
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint(servers, " servers"), func(t *testing.T) {
			c := newCluster(t, storeOptions{servers: servers}, 2)
			for _, g := range c.gateways {
				g.way.lose.Store(50)
			}
			v := c.during(usual, 1, func() {
				time.Sleep(time.Duration(tries(8, 120)) * time.Second)
				for _, g := range c.gateways {
					g.way.lose.Store(0)
				}
			})
			lost := int(c.gateways[0].way.lost.Load() + c.gateways[1].way.lost.Load())
			c.judge("F19", fmt.Sprintf("5 %% of the acknowledgements of %d servers are lost", servers), lost, v)
			if lost == 0 {
				t.Error("no acknowledgement was lost: nothing was tried")
			}
		})
	}
}

func TestW1ViewsLagAndTheirConsumersEnd(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 1}, 2)
	n := tries(4, 60)
	v := c.during(usual, 2, func() {
		for i := range n {
			for _, g := range c.gateways {
				g.way.lag.Store(int64(rand.N(30 * time.Millisecond)))
			}
			some(time.Second)
			c.gateways[i%2].way.cut()
		}
		for _, g := range c.gateways {
			g.way.lag.Store(0)
		}
	})
	c.judge("W1", "what a store tells is late, and each second a gateway loses its connections", n, v)
}

// The watch window tells the same of every revision in it, whenever it is asked; from what
// is still to come nothing comes, and from what is forgotten 410.
func TestW2AWatchResumesFromEveryRevision(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 1}, 1)
	v := c.during(usual, 1, func() { time.Sleep(time.Duration(tries(1, 5)) * time.Second) })
	all := v.Watches[0].Seen
	from := all[0].Rev
	all = slices.DeleteFunc(all, func(s Seen) bool { return s.Type < SeenAdded || s.Type > SeenDeleted })
	last := all[len(all)-1].Rev
	step := max(1, (last-from)/uint64(tries(60, 1000)))
	tried := 0
	again := func(when string) {
		for rev := from; rev < last; rev += step {
			got, expired := c.gateways[0].watchFrom(t, rev, last)
			want := slices.DeleteFunc(slices.Clone(all), func(s Seen) bool { return s.Rev <= rev })
			if !(expired && when != "") && !slices.EqualFunc(got, want, func(a, b Seen) bool {
				return a.Key == b.Key && a.Value == b.Value && a.Rev == b.Rev && a.Type == b.Type
			}) {
				v.Problems = append(v.Problems, fmt.Sprintf("%sfrom %d: got %v, want %v (410: %v)", when, rev, got, want, expired))
			}
			tried++
		}
		if got, _ := c.gateways[0].watchFrom(t, last+1000, last); len(got) > 0 {
			v.Problems = append(v.Problems, fmt.Sprintf("%sfrom a revision to come: got %v", when, got))
		}
	}
	again("")
	c.gateways[0].restart()
	c.ready()
	again("after a restart ")
	c.judge("W2", "a watch from every revision, also behind a restart", tried, v)
}

func TestW5AGatewayThatStartsShowsEverything(t *testing.T) {
	c := newCluster(t, storeOptions{servers: 1}, 1)
	objects := tries(1000, 200_000)
	rec := NewRecorder()
	var wait sync.WaitGroup
	for id := range 16 {
		one := c.client(id, rec)
		wait.Go(func() {
			for i := id; i < objects; i += 16 {
				if op := one.do(t.Context(), Create, keyName(i)); op.Outcome != OK {
					t.Errorf("creating object %d: %v", i, op.Outcome)
				}
			}
		})
	}
	wait.Wait()
	one := c.client(0, rec)
	before := one.do(t.Context(), List, "")
	began := time.Now()
	c.gateways[0].restart()
	c.ready()
	ready := time.Since(began)
	after := one.do(t.Context(), List, "")
	t.Logf("%d objects, ready after %v", objects, ready)
	result := "holds"
	if before.Outcome != OK || len(before.Items) != objects || !maps.Equal(before.Items, after.Items) || after.Rev < before.Rev {
		t.Errorf("%d objects of %d at %d were listed before, %d at %d after", len(before.Items), objects, before.Rev, len(after.Items), after.Rev)
		result = "**differs**"
	}
	tell(fmt.Sprintf("| W5 | a gateway starts over %d objects: ready after %v | 1 | %d | 0 | 2 | - | - | - | %s |", objects, ready.Round(10*time.Millisecond), objects, result))
}
