package oracle

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
)

var (
	clusters = flag.Int("clusters", 2000, "how many clusters S1 and its like look at")
	first    = flag.Int("first", 0, "seed of the first")
	most     = flag.Int("show", 5, "how many differences are shown")
)

// S1: the nodes on which a pod may run are upstream's, for every default filter plugin, and
// so are the words about the others, and which of them preemption may help on.
func TestS1TheFeasibleNodesAreUpstreams(t *testing.T) {
	sweep(t, func(t *testing.T, c *Cluster, u *upstream, o *ours, pod *corev1.Pod) string {
		want, got := u.ask(t, pod), o.ask(t, pod)
		if !slices.Equal(want.Feasible, got.Feasible) {
			return fmt.Sprintf("feasible %v, upstream %v; reasons\n%s", got.Feasible, want.Feasible, diff(got.Reasons, want.Reasons))
		}
		for node, why := range want.Reasons {
			// Where PreFilter has named the nodes, upstream does not look at the others.
			if got.Reasons[node] != why && !strings.HasPrefix(why, "not among") {
				return "reasons\n" + diff(got.Reasons, want.Reasons)
			}
		}
		return ""
	})
}

// S1, in words: what is told of a pod that fits nowhere is upstream's sentence.
func TestS1TheMessageIsUpstreams(t *testing.T) {
	sweep(t, func(t *testing.T, c *Cluster, u *upstream, o *ours, pod *corev1.Pod) string {
		want := u.ask(t, pod)
		node, got := o.work(t, pod)
		switch {
		case len(want.Feasible) > 0:
			if !slices.Contains(want.Feasible, node) {
				return fmt.Sprintf("placed on %q, feasible are %v (%s)", node, want.Feasible, got.Message)
			}
		case got.Node == "" && want.Node == "" && got.Message != want.Message:
			return fmt.Sprintf("told     %s\nupstream %s", got.Message, want.Message)
		}
		return ""
	})
}

// S7: a pod that fits nowhere takes away whom upstream would: on the node that we choose the
// same pods, and no node is a smaller loss by upstream's measure.
func TestS7VictimsAreUpstreams(t *testing.T) {
	sweep(t, func(t *testing.T, c *Cluster, u *upstream, o *ours, pod *corev1.Pod) string {
		want := u.ask(t, pod)
		if len(want.Feasible) > 0 {
			return ""
		}
		_, got := o.work(t, pod)
		if (got.Node == "") != (want.Node == "") {
			return fmt.Sprintf("preempts %v on %q, upstream %v on %q (%s)", got.Victims, got.Node, want.Victims, want.Node, got.Message)
		}
		if got.Node == "" {
			return ""
		}
		ours, theirs := want.candidates[got.Node], want.candidates[want.Node]
		if ours == nil {
			return fmt.Sprintf("preempts on %s, which upstream does not; it has %v", got.Node, slices.Sorted(maps.Keys(want.candidates)))
		}
		if v := victims(ours); !slices.Equal(v, got.Victims) {
			return fmt.Sprintf("preempts %v on %s, upstream %v", got.Victims, got.Node, v)
		}
		if a, b := loss(ours), loss(theirs); a != b {
			return fmt.Sprintf("preempts on %s at a loss of %v, upstream on %s of %v", got.Node, a, want.Node, b)
		}
		return ""
	})
}

// S3: by upstream's scores our choice is as good as upstream's own, the highest, on the mean.
func TestS3ScoresAreNotBelowUpstreams(t *testing.T) {
	var pods, equal int
	var sum, best, worst int64
	sweep(t, func(t *testing.T, c *Cluster, u *upstream, o *ours, pod *corev1.Pod) string {
		want := u.ask(t, pod)
		if len(want.Feasible) < 2 || pod.Status.NominatedNodeName != "" {
			return ""
		}
		scores := u.scores(t, pod, &want)
		node, _ := o.work(t, pod)
		top := slices.MaxFunc(slices.Collect(maps.Values(scores)), func(a, b fwk.NodePluginScores) int { return cmp.Compare(a.TotalScore, b.TotalScore) })
		mine, most := scores[node].TotalScore, top.TotalScore
		pods++
		sum, best = sum+mine, best+most
		worst = max(worst, most-mine)
		if mine == most {
			equal++
		} else if testing.Verbose() && most-mine > 10 {
			t.Logf("%s, on %s for %d: %v\nbest %s for %d: %v", pod.Name, node, mine, scores[node].Scores, top.Name, most, top.Scores)
		}
		return ""
	})
	if t.Failed() || pods == 0 {
		return
	}
	t.Logf("%d pods: mean score %.2f, upstream's best %.2f; the best node itself in %.1f %%; furthest below %d", pods, float64(sum)/float64(pods), float64(best)/float64(pods), 100*float64(equal)/float64(pods), worst)
	if float64(sum) < 0.998*float64(best) {
		t.Errorf("the mean score of our nodes is %.2f, upstream's %.2f", float64(sum)/float64(pods), float64(best)/float64(pods))
	}
}

// sweep asks about the pods of all clusters and shows the first few differences.
func sweep(t *testing.T, compare func(*testing.T, *Cluster, *upstream, *ours, *corev1.Pod) string) {
	t.Parallel()
	shown := 0
	for seed := *first; seed < *first+*clusters && shown < *most; seed++ {
		t.Run("", func(t *testing.T) {
			c := random(uint64(seed))
			u, o := newUpstream(t, c), newOurs(t, c)
			for _, pod := range c.Asks {
				if problem := compare(t, c, u, o, pod); problem != "" {
					shown++
					t.Errorf("cluster %d, %s: %s", seed, pod.Name, problem)
					if testing.Verbose() {
						t.Logf("%s\n%s", show(pod), show(c))
					}
				}
			}
		})
	}
}

func show(o any) string {
	data, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func diff(got, want map[string]string) string {
	var b strings.Builder
	for _, node := range slices.Sorted(maps.Keys(want)) {
		if got[node] != want[node] {
			fmt.Fprintf(&b, "  %s: %q, upstream %q\n", node, got[node], want[node])
		}
	}
	for _, node := range slices.Sorted(maps.Keys(got)) {
		if _, there := want[node]; !there {
			fmt.Fprintf(&b, "  %s: %q, upstream lets it run there\n", node, got[node])
		}
	}
	return b.String()
}
