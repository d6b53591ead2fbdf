package filter

import (
	"fmt"
	"slices"
	"strings"

	"kubus.dev/services/scheduler/internal/node"
	"kubus.dev/services/scheduler/internal/shape"
)

// Diagnosis counts why the nodes of a cluster refuse one shape and words it as
// upstream does, so that people and tools find the sentences they know.
type Diagnosis struct {
	shape   *shape.Shape
	nodes   int
	reasons map[string]int
	// helpless counts nodes where taking other pods away would not help;
	// preemptible those that hold pods of lower priority than ours.
	helpless    int
	preemptible int
}

// NewDiagnosis starts the count for s.
func NewDiagnosis(s *shape.Shape) *Diagnosis {
	return &Diagnosis{shape: s, reasons: map[string]int{}}
}

// Add counts one node of the cluster. lower says that pods of lower priority run there.
func (d *Diagnosis) Add(n *node.Node, lower bool) {
	if !n.Present {
		return
	}
	d.nodes++
	if d.shape.Obstacle() != "" {
		return
	}
	reason := Node(d.shape, n)
	switch reason {
	case OK:
		return
	case Resources:
		texts, hopeless := Insufficient(d.shape, n)
		for _, text := range texts {
			d.reasons[text]++
		}
		d.preempt(hopeless, lower)
	case HostPorts, VolumeExclusive:
		d.reasons[reason.String()]++
		d.preempt(false, lower)
	default:
		d.reasons[reason.String()]++
		d.helpless++
	}
}

func (d *Diagnosis) preempt(hopeless, lower bool) {
	switch {
	case hopeless:
		d.helpless++
	case lower:
		d.preemptible++
	}
}

// Message is the sentence for the pod's condition and event.
func (d *Diagnosis) Message() string {
	if d.nodes == 0 {
		return "no nodes available to schedule pods"
	}
	return fmt.Sprintf("0/%d nodes are available: %s. preemption: %s.", d.nodes, d.why(), d.preemption())
}

func (d *Diagnosis) why() string {
	if obstacle := d.shape.Obstacle(); obstacle != "" {
		return obstacle
	}
	return histogram(d.reasons)
}

func (d *Diagnosis) preemption() string {
	if d.shape.PreemptNever {
		return "not eligible due to preemptionPolicy=Never"
	}
	counts := map[string]int{}
	set := func(text string, n int) {
		if n > 0 {
			counts[text] = n
		}
	}
	helpless := d.helpless
	if d.shape.Obstacle() != "" {
		helpless = d.nodes
	}
	set("Preemption is not helpful for scheduling", helpless)
	set("Preemption is not supported yet", d.preemptible)
	set("No preemption victims found for incoming pod", d.nodes-helpless-d.preemptible)
	return fmt.Sprintf("0/%d nodes are available: %s", d.nodes, histogram(counts))
}

func histogram(counts map[string]int) string {
	texts := make([]string, 0, len(counts))
	for text, n := range counts {
		texts = append(texts, fmt.Sprintf("%d %s", n, text))
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}
