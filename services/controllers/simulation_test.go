package controllers

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/controllers/internal/sim"
)

var (
	storyFile = flag.String("sim.story", "", "a file for the story of the last seed")
	gone      = flag.Float64("sim.gone", 0.2, "odds that a process which lags never sees a version that has a newer one")
)

// TestAllTogether plays all controllers as they run, in two processes of which one
// leads each group, with a scheduler, nodes and users, while requests and answers get
// lost, others write in between, mirrors lag, skip versions and hear twice, and
// processes end between any two writes, pause and resume. The rules (rule_test.go)
// hold after every write; in the end all is as specified, and rests. A failure replays
// from its seed:
//
//	go test ./services/controllers -run 'TestAllTogether/seed=17$' -sim.story story
func TestAllTogether(t *testing.T) {
	t.Parallel()
	sim.Few(t, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed)
		defer func() {
			w.End()
			if *storyFile != "" {
				if err := os.WriteFile(*storyFile, []byte(strings.Join(w.Story(), "\n")), 0o644); err != nil {
					t.Error(err)
				}
			}
		}()
		if err := w.play(1500); err != nil {
			t.Fatal(err)
		}
	})
}

// number ends the name of a pod. How many of them an attempt takes whose process or term
// ends before it is sent is chance.
var number = regexp.MustCompile(`\b[ab][0-9]{4}\b`)

// TestASeedIsAlwaysTheSamePlay is what replaying a failure depends on.
func TestASeedIsAlwaysTheSamePlay(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 2; seed++ {
		var told [2][]string
		for i := range told {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed)
				defer w.End()
				if err := w.play(600); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				told[i] = w.Story()
			})
		}
		for i, line := range told[0] {
			if i >= len(told[1]) || number.ReplaceAllString(told[1][i], "#") != number.ReplaceAllString(line, "#") {
				t.Fatalf("seed %d, line %d:\n%s\nbut then\n%s", seed, i, line, strings.Join(told[1][min(i, len(told[1])):min(i+1, len(told[1]))], ""))
			}
		}
	}
}

// play lets things happen, then only good ones, and judges what has come of it.
func (w *world) play(steps int) error {
	for range steps {
		w.turn()
		if err := w.Err(); err != nil {
			return err
		}
	}
	w.calm()
	w.Settle(20*time.Minute, w.allWell) // the longest back-off, and a little more
	if err := w.Err(); err != nil {
		return err
	}
	if err := w.settled(); err != nil {
		return fmt.Errorf("settled: %w", err)
	}
	before, told := w.Changes(), len(w.Story())
	w.Settle(10*time.Minute, w.allWell)
	if n := w.Changes() - before; n > 0 {
		return fmt.Errorf("it does not rest: %d changes, such as\n%s", n, strings.Join(w.Story()[told:min(len(w.Story()), told+5)], "\n"))
	}
	return w.Err()
}

func (w *world) turn() {
	if len(w.Processes()) == 0 {
		w.startOne()
	}
	switch n := w.Rand.IntN(100); {
	case n < 42:
		w.Serve()
	case n < 66:
		w.Deliver()
	case n < 82:
		w.schedule()
		w.runSome()
	case n < 92:
		w.pass(time.Duration(w.Rand.Int64N(int64(2 * time.Second))))
	case n < 95:
		w.user()
	case n < 96 && !w.quiet:
		w.nodeFails()
	case n < 98:
		w.processFails()
	default:
		w.Deliver()
		w.Serve()
	}
}

// processFails ends a process or holds it for a while; an ended one is started again.
func (w *world) processFails() {
	all := w.Processes()
	held := slices.IndexFunc(all, (*sim.Process).Paused)
	switch {
	case held >= 0:
		all[held].Pause(false)
	case len(all) < 2:
		w.startOne()
	case w.Rand.IntN(2) == 0:
		all[w.Rand.IntN(len(all))].Kill()
	default:
		all[w.Rand.IntN(len(all))].Pause(true)
	}
}

// startOne starts one of the two processes that is not there.
func (w *world) startOne() {
	for _, name := range []string{"a", "b"} {
		if !slices.ContainsFunc(w.Processes(), func(p *sim.Process) bool { return p.Name == name }) {
			w.Start(name)
			return
		}
	}
}

// pass lets time pass, in which living nodes are heard of.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	w.beat()
}

// nodeFails has a node fall silent, or come back.
func (w *world) nodeFails() {
	nodes := w.nodes.List()
	node := nodes[w.Rand.IntN(len(nodes))]
	if w.silent[node.Name] {
		w.revive(node)
		return
	}
	w.Tell("%s falls silent", node.Name)
	w.silent[node.Name] = true
}

func (w *world) revive(node *corev1.Node) {
	w.Tell("%s is back", node.Name)
	delete(w.silent, node.Name)
	w.revived[node.Name] = time.Now()
	node.Status = readyNode(node.Name).Status
	w.nodes.Put(node)
	w.beat()
}

// calm is the end of all that goes wrong.
func (w *world) calm() {
	w.quiet = true
	for len(w.Processes()) < 2 {
		w.startOne()
	}
	for _, node := range w.nodes.List() {
		if w.silent[node.Name] {
			w.revive(node)
		}
	}
	for _, cron := range w.crons.List() {
		cron.Spec.Suspend = new(true)
		w.crons.Put(cron)
	}
	for _, job := range w.jobs.List() {
		if *job.Spec.Suspend {
			job.Spec.Suspend = new(false)
			w.jobs.Put(job)
		}
	}
}

// allWell is what scheduler and nodes do when nothing goes wrong.
func (w *world) allWell() {
	w.beat()
	w.schedule()
	for _, p := range w.pods.List() {
		w.run(p, true)
	}
}
