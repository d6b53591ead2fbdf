package sim

import (
	"errors"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"
)

// Profile is what a file says of simulated nodes. Every key may be left out.
type Profile struct {
	// Nodes are what each node is like; node i is of kind i modulo their number.
	Nodes []Kind `json:"nodes"`
	// StartDelay lies between a pod's binding and its Running, StopDelay between its deletion
	// and its end; never longer than its grace period.
	StartDelay metav1.Duration `json:"startDelay"`
	StopDelay  metav1.Duration `json:"stopDelay"`
	// RunFor is how long the pods run that do not run for ever (restartPolicy Never, OnFailure).
	RunFor metav1.Duration `json:"runFor"`
	// Failures are pods that fail; the first that fits counts.
	Failures []Failure `json:"failures"`
}

// Kind is a kind of node.
type Kind struct {
	Allocatable corev1.ResourceList `json:"allocatable"`
	Labels      map[string]string   `json:"labels"`
	Taints      []corev1.Taint      `json:"taints"`
	// Zones are given to the nodes in turn.
	Zones []string `json:"zones"`
}

// Failure is what goes wrong with some pods.
type Failure struct {
	Selector string          `json:"selector"` // of their labels; empty for all
	After    metav1.Duration `json:"after"`    // their start
	ExitCode int32           `json:"exitCode"` // 1 when left out
	// Percent of the pods that fail, chosen by their UID; 100 when left out.
	Percent *int `json:"percent"`

	chooses labels.Selector
}

// Default is 8 CPUs, 32 GiB and 110 pods a node, in three zones, pods that start after a
// second and, where they are to end, end after ten.
func Default() Profile {
	return Profile{
		Nodes:      []Kind{defaultKind()},
		StartDelay: metav1.Duration{Duration: time.Second}, StopDelay: metav1.Duration{Duration: 500 * time.Millisecond},
		RunFor: metav1.Duration{Duration: 10 * time.Second},
	}
}

func defaultKind() Kind {
	return Kind{
		Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("32Gi"),
			corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceEphemeralStorage: resource.MustParse("100Gi")},
		Zones: []string{"zone-a", "zone-b", "zone-c"},
	}
}

// Load reads a file; "" is the default.
func Load(file string) (Profile, error) {
	p := Default()
	if file == "" {
		return p, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return p, fmt.Errorf("reading the profile of simulated nodes: %w", err)
	}
	if err := p.parse(data); err != nil {
		return p, fmt.Errorf("%s: %w", file, err)
	}
	return p, nil
}

func (p *Profile) parse(data []byte) error {
	kinds := p.Nodes
	p.Nodes = nil // what a file says of nodes is not mixed with the default
	if err := yaml.UnmarshalStrict(data, p); err != nil {
		return err
	}
	if p.Nodes == nil {
		p.Nodes = kinds
	}
	var errs []error
	for name, d := range map[string]metav1.Duration{"startDelay": p.StartDelay, "stopDelay": p.StopDelay, "runFor": p.RunFor} {
		if d.Duration < 0 {
			errs = append(errs, fmt.Errorf("%s: %s, must not be below 0", name, d.Duration))
		}
	}
	if len(p.Nodes) == 0 {
		errs = append(errs, errors.New("nodes: at least one kind must be there"))
	}
	for i := range p.Nodes {
		if len(p.Nodes[i].Allocatable) == 0 {
			p.Nodes[i].Allocatable = defaultKind().Allocatable
		}
	}
	for i := range p.Failures {
		f := &p.Failures[i]
		var err error
		if f.chooses, err = labels.Parse(f.Selector); err != nil {
			errs = append(errs, fmt.Errorf("failures[%d].selector: %w", i, err))
		}
		if f.ExitCode == 0 {
			f.ExitCode = 1
		}
		if f.Percent != nil && (*f.Percent < 0 || *f.Percent > 100) {
			errs = append(errs, fmt.Errorf("failures[%d].percent: %d, must be 0 to 100", i, *f.Percent))
		}
	}
	return errors.Join(errs...)
}
