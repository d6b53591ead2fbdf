package oracle

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

// Case is one pod of one cluster, and what both sides say of it.
type Case struct {
	seed     int
	pod      *corev1.Pod
	upstream decision
	ours     answer // of the nodes
	// node is where our worker places it; decided is what it says and does when nowhere.
	node    string
	decided answer
	// scores are upstream's of the feasible nodes, nil where there is no choice.
	scores map[string]fwk.NodePluginScores
}

// rule tells the rules apart that all cases are judged by.
type rule int

const (
	s1nodes rule = iota
	s1message
	s3scores
	s7victims
	rules
)

// judges say how a case breaks a rule, "" for not at all.
var judges = [rules]func(*Case) string{s1nodes: feasible, s1message: message, s3scores: scored, s7victims: preempts}

// swept is what one look at all clusters has found; the tests of all rules share it.
var swept findings

type findings struct {
	sync.Mutex
	done     bool
	pods     int
	choices  int // pods with a choice of nodes
	problems [rules][]problem
}

func (f *findings) note(c *Case) {
	f.pods++
	if c.scores != nil {
		f.choices++
	}
	for r, judge := range judges {
		if text := judge(c); text != "" {
			f.problems[r] = append(f.problems[r], problem{c.seed, c.pod, text})
		}
	}
}

type problem struct {
	seed int
	pod  *corev1.Pod
	text string
}

// report fails for each case that breaks the rule. Who comes first looks at the clusters.
func report(t *testing.T, r rule) {
	swept.Lock()
	defer swept.Unlock()
	if !swept.done {
		swept.done = true
		sweep(t)
	}
	if swept.pods == 0 || swept.choices == 0 {
		t.Fatalf("%d pods were asked about, %d of them have a choice", swept.pods, swept.choices)
	}
	t.Logf("%d clusters, %d pods, %d of them with a choice of nodes", *clusters, swept.pods, swept.choices)
	found := swept.problems[r]
	slices.SortFunc(found, func(a, b problem) int { return a.seed - b.seed })
	for i, p := range found {
		if i == *most {
			t.Errorf("and %d more", len(found)-i)
			break
		}
		t.Errorf("cluster %d, %s: %s", p.seed, p.pod.Name, p.text)
		if testing.Verbose() {
			t.Logf("%s\n%s", show(p.pod), show(random(uint64(p.seed))))
		}
	}
}

// sweep looks at all clusters, several at a time.
func sweep(t *testing.T) {
	var mu sync.Mutex
	lanes := runtime.GOMAXPROCS(0)
	t.Run("clusters", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint("lane", lane), func(t *testing.T) {
				t.Parallel()
				for seed := *first + lane; seed < *first+*clusters; seed += lanes {
					t.Run(fmt.Sprint(seed), func(t *testing.T) {
						for _, c := range ask(t, seed) {
							mu.Lock()
							swept.note(c)
							mu.Unlock()
						}
					})
				}
			})
		}
	})
}

// ask asks both sides about the pods of a cluster.
func ask(t *testing.T, seed int) []*Case {
	cluster := random(uint64(seed))
	u, o := newUpstream(t, cluster), newOurs(t, cluster)
	var out []*Case
	for _, pod := range cluster.Asks {
		c := &Case{seed: seed, pod: pod, upstream: u.ask(t, pod), ours: o.ask(t, pod)}
		if len(c.upstream.Feasible) > 1 && pod.Status.NominatedNodeName == "" {
			c.scores = u.scores(t, pod, &c.upstream)
		}
		c.node, c.decided = o.work(t, pod)
		out = append(out, c)
	}
	return out
}
