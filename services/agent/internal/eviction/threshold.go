package eviction

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is something that a node may run short of.
type Signal string

// The signals, as kubelet names them. Images lie on the file system of the node.
const (
	MemoryAvailable  Signal = "memory.available"
	NodeFsAvailable  Signal = "nodefs.available"
	NodeFsInodesFree Signal = "nodefs.inodesFree"
	PIDAvailable     Signal = "pid.available"
)

// Resources of nodes that no pod can ask for.
const (
	Inodes corev1.ResourceName = "inodes"
	PIDs   corev1.ResourceName = "pids"
)

// meanings of the signals: the node's condition, and the resource that is short.
var meanings = map[Signal]struct {
	condition corev1.NodeConditionType
	resource  corev1.ResourceName
}{
	MemoryAvailable:  {corev1.NodeMemoryPressure, corev1.ResourceMemory},
	NodeFsAvailable:  {corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage},
	NodeFsInodesFree: {corev1.NodeDiskPressure, Inodes},
	PIDAvailable:     {corev1.NodePIDPressure, PIDs},
}

// Amount is a quantity, or else a part of what there is.
type Amount struct {
	Quantity *resource.Quantity
	Part     float64 // 0 to 1; counts where Quantity is nil
}

// Of is the amount where there is so much in all.
func (a Amount) Of(capacity int64) *resource.Quantity {
	if a.Quantity != nil {
		q := a.Quantity.DeepCopy()
		return &q
	}
	return resource.NewQuantity(int64(float64(capacity)*a.Part), resource.BinarySI)
}

// Threshold is met when less of its signal is left than Value.
type Threshold struct {
	Signal Signal
	Value  Amount
	// Grace is how long it must be met before pods end; zero: a hard one, at once.
	Grace time.Duration
	// Reclaim is what must be free beyond Value once pods have ended for it.
	Reclaim Amount
}

// Resource is what is short when the threshold is met.
func (t *Threshold) Resource() corev1.ResourceName { return meanings[t.Signal].resource }

// onDisk tells whether what is short is on the disk.
func (t *Threshold) onDisk() bool { return meanings[t.Signal].condition == corev1.NodeDiskPressure }

// Hard tells whether it ends pods at once.
func (t *Threshold) Hard() bool { return t.Grace == 0 }

// Settings are thresholds as an operator writes them: values by signal, each a quantity or a percentage.
type Settings struct {
	Hard, Soft, SoftGrace, MinimumReclaim map[string]string
}

// DefaultHard are the hard thresholds of a node whose operator sets none.
func DefaultHard() map[string]string {
	return map[string]string{string(MemoryAvailable): "100Mi", string(NodeFsAvailable): "10%", string(NodeFsInodesFree): "5%", string(PIDAvailable): "5%"}
}

// Thresholds are what the settings say, hard ones first; the error names every problem by its
// key. A value of 0% or 100% is no threshold, as kubelet has it.
func (s Settings) Thresholds() ([]Threshold, error) {
	var out []Threshold
	var problems []error
	amounts := func(key string, values map[string]string, f func(Signal, Amount)) {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			if _, known := meanings[Signal(name)]; !known {
				problems = append(problems, fmt.Errorf("%s[%s]: unknown eviction signal", key, name))
			} else if a, err := parseAmount(values[name]); err != nil {
				problems = append(problems, fmt.Errorf("%s[%s]: %w", key, name, err))
			} else {
				f(Signal(name), a)
			}
		}
	}
	reclaim := map[Signal]Amount{}
	amounts("evictionMinimumReclaim", s.MinimumReclaim, func(signal Signal, a Amount) { reclaim[signal] = a })
	add := func(signal Signal, a Amount, grace time.Duration) {
		if a.Quantity != nil || a.Part > 0 && a.Part < 1 {
			out = append(out, Threshold{Signal: signal, Value: a, Grace: grace, Reclaim: reclaim[signal]})
		}
	}
	amounts("evictionHard", s.Hard, func(signal Signal, a Amount) { add(signal, a, 0) })
	amounts("evictionSoft", s.Soft, func(signal Signal, a Amount) {
		grace, err := time.ParseDuration(s.SoftGrace[string(signal)])
		if err != nil || grace <= 0 {
			problems = append(problems, fmt.Errorf("evictionSoftGracePeriod[%s]: %q: a soft threshold needs a duration such as 1m30s", signal, s.SoftGrace[string(signal)]))
			return
		}
		add(signal, a, grace)
	})
	for _, name := range slices.Sorted(maps.Keys(s.SoftGrace)) {
		if _, ok := s.Soft[name]; !ok {
			problems = append(problems, fmt.Errorf("evictionSoftGracePeriod[%s]: evictionSoft has no such threshold", name))
		}
	}
	return out, errors.Join(problems...)
}

func parseAmount(text string) (Amount, error) {
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 0 && n <= 100) { // not a number is neither
			return Amount{}, fmt.Errorf("%q must be 0%% to 100%%", text)
		}
		return Amount{Part: n / 100}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return Amount{}, fmt.Errorf("%q: %w", text, err)
	}
	if q.Sign() <= 0 {
		return Amount{}, fmt.Errorf("%q must be more than nothing", text)
	}
	return Amount{Quantity: &q}, nil
}
