package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// usual are upstream's defaults.
var usual = limits{Rate: 0.1, Secondary: 0.01, Unhealthy: 0.55, Large: 50}

func TestHowAZoneFares(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name            string
		ready, notReady int
		state           zoneState
		rate            float64
	}{
		{"no nodes", 0, 0, stateInitial, 0.1},
		{"all are ready", 10, 0, stateNormal, 0.1},
		{"some are not", 10, 5, stateNormal, 0.1},
		{"two are never many", 1, 2, stateNormal, 0.1},
		{"three of five are many: a small zone loses none", 2, 3, statePartialDisruption, 0},
		{"the threshold itself counts", 9, 11, statePartialDisruption, 0},
		{"right below it", 10, 12, stateNormal, 0.1},
		{"fifty nodes are no large zone", 20, 30, statePartialDisruption, 0},
		{"a large zone goes on slowly", 20, 31, statePartialDisruption, 0.01},
		{"none is ready: what is left of the cluster takes the pods", 0, 51, stateFullDisruption, 0.1},
		{"none is ready in a zone of one", 0, 1, stateFullDisruption, 0.1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			state := usual.state(c.ready, c.notReady)
			if rate := usual.rate(state, c.ready+c.notReady); state != c.state || rate != c.rate {
				t.Errorf("%v ready, %v not: %v at %v, want %v at %v", c.ready, c.notReady, state, rate, c.state, c.rate)
			}
		})
	}
}

// play is a story of zones. Each line is a second offset, and what happens then:
//
//	up ZONE NODE…     nodes are ready
//	down ZONE NODE…   nodes are not
//	apart ZONE NODE…  nodes are not ready, and do not count
//	gone NODE
//	ask NODE          an admission; said is "yes", or "wait N" seconds (0: until woken)
//	leave NODE
//
// what is said after "=" is what comes of it: halt, resume, wake NODE…
func play(t *testing.T, steps []string) {
	t.Helper()
	z := newZones(usual)
	for _, step := range steps {
		what, want, _ := strings.Cut(step, " = ")
		words := strings.Fields(what)
		second := 0
		if _, err := fmt.Sscan(words[0], &second); err != nil {
			t.Fatal(err)
		}
		at := now.Add(time.Duration(second) * time.Second)
		got := ""
		switch words[1] {
		case "up", "down", "apart":
			for _, name := range words[3:] {
				got = told(z.Note(name, member{Zone: words[2], Ready: words[1] == "up", Counts: words[1] != "apart"}, at))
			}
		case "gone":
			got = told(z.Gone(words[2], at))
		case "leave":
			got = told(turn{Wake: z.Leave(words[2], z.nodes[words[2]].Zone)})
		case "ask":
			ok, wait := z.Admit(words[2], at)
			if got = "yes"; !ok {
				got = fmt.Sprintf("wait %v", wait.Seconds())
			}
		default:
			t.Fatalf("%q is no step", step)
		}
		if got != want {
			t.Fatalf("%s: got %q", step, got)
		}
	}
}

func told(t turn) string {
	s := ""
	if t.Halt {
		s += "halt "
	}
	if t.Resume {
		s += "resume "
	}
	for i, name := range t.Wake {
		if i == 0 {
			s += "wake "
		}
		s += name + " "
	}
	if s == "" {
		return ""
	}
	return s[:len(s)-1]
}

func TestZones(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		steps []string
	}{
		{"the first goes at once, the next after ten seconds, in the order in which they asked", []string{
			"0 up a n1 n2 n3 n4 n5 n6",
			"0 down a n1 n2 n3",
			"0 ask n2 = yes", "0 ask n1 = wait 10", "1 ask n3 = wait 19", "9 ask n1 = wait 1",
			"10 ask n3 = wait 10", "10 ask n1 = yes", "10 ask n3 = wait 10", "20 ask n3 = yes",
		}},
		{"who was let through and could not be written is let through again", []string{
			"0 up a n1 n2", "0 down a n1", "0 ask n1 = yes", "1 ask n1 = yes",
			"2 leave n1", "2 ask n1 = wait 8",
		}},
		{"who leaves the line makes room", []string{
			"0 up a n1 n2 n3 n4 n5 n6 n7", "0 down a n1 n2 n3", "0 ask n1 = yes", "0 ask n2 = wait 10", "0 ask n3 = wait 20",
			"5 leave n2 = wake n3", "10 ask n3 = yes",
			"11 leave n7",
		}},
		{"a node that is gone makes room too", []string{
			"0 up a n1 n2 n3 n4 n5 n6 n7", "0 down a n1 n2 n3", "0 ask n1 = yes", "0 ask n2 = wait 10", "0 ask n3 = wait 20",
			"5 gone n2 = wake n3", "10 ask n3 = yes", "11 gone nobody",
		}},
		{"zones do not wait for one another", []string{
			"0 up a n1 n2", "0 up b m1 m2", "0 down a n1", "0 down b m1", "0 ask n1 = yes", "0 ask m1 = yes",
		}},
		{"a small zone that is partially disrupted loses nobody until it is better", []string{
			"0 up a n1 n2 n3 n4 n5", "0 down a n1 n2", "0 ask n1 = yes", "0 ask n2 = wait 10",
			"1 down a n3 = wake n2", "1 ask n2 = wait 0", "2 ask n3 = wait 0",
			"60 up a n3 = wake n2 n3", "60 ask n2 = wait 10", "60 leave n3", "70 ask n2 = yes",
		}},
		{"a zone that is wholly lost is emptied while others are well", []string{
			"0 up b m1", "0 up a n1 n2 n3 n4", "0 down a n1 n2 n3", "0 down a n4",
			"0 ask n1 = wait 10", "10 ask n1 = yes",
		}},
		{"all zones are lost: nobody goes, and those who were let through are not", []string{
			"0 up a n1 n2 n3", "0 up b m1", "0 down a n1", "0 ask n1 = yes",
			"1 down b m1", "1 down a n2", "1 down a n3 = halt", "1 ask n1 = wait 0", "99 ask m1 = wait 0",
			"100 up a n3 = resume", "100 ask m1 = wait 10", "105 ask n1 = wait 5", "110 ask m1 = yes", "110 ask n1 = yes",
		}},
		{"a cluster whose only node is lost is left alone", []string{
			"0 up a n1", "1 down a n1 = halt", "1 ask n1 = wait 0", "2 up a n1 = resume",
		}},
		{"the last ready node is deleted", []string{
			"0 up a n1 n2", "0 down a n1", "1 gone n2 = halt", "2 up a n3 = resume",
		}},
		{"nodes that do not count say nothing of their zone, and wait in its line", []string{
			"0 up a n1 n2", "0 apart a n3 n4", "1 ask n3 = yes", "1 ask n4 = wait 10",
			"2 gone n1", "2 gone n2", "3 up b m1", "11 ask n4 = yes",
		}},
		{"a node that moves to another zone waits there", []string{
			"0 up a n1 n2 n3", "0 up b m1 m2", "0 down a n1 n2", "0 ask n1 = yes", "0 ask n2 = wait 10",
			"1 down b n2", "1 ask n2 = yes",
		}},
		{"the same again is no news", []string{
			"0 up a n1", "1 down a n1 = halt", "2 down a n1", "3 down a n1",
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			play(t, c.steps)
		})
	}
}

func TestANodesZoneIsThatOfItsLabels(t *testing.T) {
	t.Parallel()
	n := newNode("True")
	n.Labels = map[string]string{corev1.LabelTopologyRegion: "north", corev1.LabelTopologyZone: "north-1", excludeDisruption: ""}
	if m := memberOf(n); !m.Ready || m.Counts || zoneName(m.Zone) != "north/north-1" {
		t.Errorf("got %+v", m)
	}
	if m := memberOf(newNode("")); m.Ready || !m.Counts || m.Zone != "" {
		t.Errorf("got %+v", m)
	}
	states := []string{}
	for s := stateInitial; s <= stateFullDisruption; s++ {
		states = append(states, s.String())
	}
	if !slices.Equal(states, []string{"Initial", "Normal", "PartialDisruption", "FullDisruption"}) {
		t.Errorf("got %v", states)
	}
}
