package filter

import (
	"fmt"
	"slices"
	"strings"

	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/shape"
)

// Refusal is why a node refuses a pod. The zero value is no refusal.
type Refusal struct {
	Reason Reason
	// Texts are upstream's sentences; one a resource, else one.
	Texts []string
	// Helpless: taking pods off the node would not help (UnschedulableAndUnresolvable).
	Helpless bool
}

// Refuse words the reason for which n refuses s.
func Refuse(r Reason, s *shape.Shape, n *node.Node) Refusal {
	switch r {
	case OK:
		return Refusal{}
	case Resources:
		texts, hopeless := Insufficient(s, n)
		return Refusal{r, texts, hopeless}
	case VolumeDriver:
		i := slices.IndexFunc(s.Claims.Attach, func(v shape.Attach) bool { return v.Needs && !n.HasDriver(v.Driver) })
		return Refusal{r, []string{s.Claims.Attach[i].Driver + " CSI driver is not installed on the node"}, false}
	case VolumeAffinity: // upstream tells of bound and unbound claims at once
		texts := []string{r.String()}
		switch _, lack := s.Claims.Choose(n.Self); lack {
		case shape.NoVolume:
			texts = append(texts, VolumeUnbound.String())
		case shape.NoSpace:
			texts = append(texts, VolumeSpace.String())
		}
		return Refusal{r, texts, true}
	}
	return Refusal{r, []string{r.String()}, !r.Resolvable()}
}

// Resolvable tells whether taking pods away can help against a reason; with Resources it
// depends on the node.
func (r Reason) Resolvable() bool {
	switch r {
	case Resources, HostPorts, Disks, VolumeExclusive, VolumeDriver, VolumeLimit, SpreadSkew, AntiAffinity, ExistingAntiAffinity:
		return true
	}
	return false
}

// Diagnosis counts why the nodes of a cluster refuse one pod and words it as upstream
// does, so that people and tools find the sentences they know.
type Diagnosis struct {
	nodes    int
	obstacle string // that stands before any node
	reasons  map[string]int
}

// NewDiagnosis starts the count for s.
func NewDiagnosis(s *shape.Shape) *Diagnosis {
	return &Diagnosis{obstacle: s.Obstacle(), reasons: map[string]int{}}
}

// Add counts one node of the cluster.
func (d *Diagnosis) Add(r Refusal) {
	d.nodes++
	for _, text := range r.Texts {
		d.reasons[text]++
	}
}

// Message is the sentence for the pod's condition and event; preemption is what that has to
// say of it, as Preemption words it.
func (d *Diagnosis) Message(preemption string) string {
	if d.nodes == 0 {
		return "no nodes available to schedule pods"
	}
	why := d.obstacle
	if why == "" {
		why = histogram(d.reasons)
	}
	said := fmt.Sprintf("0/%d nodes are available: %s.", d.nodes, why)
	if preemption == "" { // nobody was asked
		return said
	}
	return said + " preemption: " + preemption
}

// Tally counts why taking pods away helps on none of the nodes.
type Tally struct {
	nodes   int
	tried   int
	reasons map[string]int
}

// NewTally is for a cluster of so many nodes.
func NewTally(nodes int) *Tally { return &Tally{nodes: nodes, reasons: map[string]int{}} }

// Add counts a node that was tried.
func (t *Tally) Add(texts ...string) {
	t.tried++
	for _, text := range texts {
		t.reasons[text]++
	}
}

// String is upstream's sentence.
func (t *Tally) String() string {
	if n := t.nodes - t.tried; n > 0 {
		t.reasons["Preemption is not helpful for scheduling"] = n
	}
	return fmt.Sprintf("0/%d nodes are available: %s.", t.nodes, histogram(t.reasons))
}

func histogram(counts map[string]int) string {
	texts := make([]string, 0, len(counts))
	for text, n := range counts {
		texts = append(texts, fmt.Sprintf("%d %s", n, text))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}
