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

	fwk "k8s.io/kube-scheduler/framework"
)

var (
	clusters = flag.Int("clusters", 2000, "how many clusters S1 and its like look at")
	first    = flag.Int("first", 0, "seed of the first")
	most     = flag.Int("show", 5, "how many differences of a rule are shown")
)

// S1: the nodes on which a pod may run are upstream's, for every default filter plugin, and
// so are the words about the others, and which of them preemption may help on.
func TestS1TheFeasibleNodesAreUpstreams(t *testing.T) { report(t, s1nodes) }

func feasible(c *Case) string {
	want, got := &c.upstream, &c.ours
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
}

// S1, in words: what is told of a pod that fits nowhere is upstream's sentence.
func TestS1TheMessageIsUpstreams(t *testing.T) { report(t, s1message) }

func message(c *Case) string {
	want, got := &c.upstream, &c.decided
	switch {
	case len(want.Feasible) > 0:
		if !slices.Contains(want.Feasible, c.node) {
			return fmt.Sprintf("placed on %q, feasible are %v (%s)", c.node, want.Feasible, got.Message)
		}
	case got.Node == "" && want.Node == "" && got.Message != want.Message:
		return fmt.Sprintf("told     %s\nupstream %s", got.Message, want.Message)
	}
	return ""
}

// S7: a pod that fits nowhere takes away whom upstream would: on the node that we choose the
// same pods, and no node is a smaller loss by upstream's measure.
func TestS7VictimsAreUpstreams(t *testing.T) { report(t, s7victims) }

func preempts(c *Case) string {
	want, got := &c.upstream, &c.decided
	if len(want.Feasible) > 0 {
		return ""
	}
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
}

// S3: by upstream's scores our choice is as good as upstream's own, the highest, for each pod
// and so on the mean.
func TestS3ScoresAreNotBelowUpstreams(t *testing.T) { report(t, s3scores) }

func scored(c *Case) string {
	if c.scores == nil {
		return ""
	}
	top := slices.MaxFunc(slices.Collect(maps.Values(c.scores)), func(a, b fwk.NodePluginScores) int { return cmp.Compare(a.TotalScore, b.TotalScore) })
	if mine := c.scores[c.node]; mine.TotalScore < top.TotalScore {
		return fmt.Sprintf("on %q for %d: %v\nbest %s for %d: %v", c.node, mine.TotalScore, mine.Scores, top.Name, top.TotalScore, top.Scores)
	}
	return ""
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
