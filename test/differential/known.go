package differential

import (
	"fmt"
	"os"
	"regexp"
	"sync/atomic"

	"sigs.k8s.io/yaml"
)

// Known explains differences that are there on purpose, or not yet mended. The
// patterns are regular expressions that must match from the beginning to the end;
// one that is absent matches everything.
type Known struct {
	// ID stands in docs/divergences.md as well.
	ID     string `json:"id"`
	Reason string `json:"reason"`

	Scenario string `json:"scenario,omitempty"`
	Step     string `json:"step,omitempty"`
	// Aspect is matched against Difference.Class.
	Aspect   string `json:"aspect,omitempty"`
	Upstream string `json:"upstream,omitempty"`
	Kubus    string `json:"kubus,omitempty"`

	patterns [5]*regexp.Regexp
	used     atomic.Int64
}

// KnownList is the list of them.
type KnownList struct{ all []*Known }

// LoadKnown reads the list and refuses one that says nothing.
func LoadKnown(file string) (*KnownList, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []*Known
	if err := yaml.UnmarshalStrict(data, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for i, k := range all {
		if k.ID == "" || k.Reason == "" {
			return nil, fmt.Errorf("%s: entry %d needs an id and a reason", file, i+1)
		}
		if k.Scenario+k.Step+k.Aspect+k.Upstream+k.Kubus == "" {
			return nil, fmt.Errorf("%s: %s would explain everything", file, k.ID)
		}
		for j, p := range []string{k.Scenario, k.Step, k.Aspect, k.Upstream, k.Kubus} {
			if p == "" {
				p = ".*"
			}
			if k.patterns[j], err = regexp.Compile(`^(?s:` + p + `)$`); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", file, k.ID, err)
			}
		}
	}
	return &KnownList{all}, nil
}

// Explain gives the first explanation of a difference; nil if there is none.
func (l *KnownList) Explain(scenario, step string, d Difference) *Known {
	if l == nil {
		return nil
	}
	for _, k := range l.all {
		matches := true
		for i, s := range []string{scenario, step, d.Class(), d.Upstream, d.Kubus} {
			matches = matches && k.patterns[i].MatchString(s)
		}
		if matches {
			k.used.Add(1)
			return k
		}
	}
	return nil
}

// Idle lists the explanations that explained nothing so far.
func (l *KnownList) Idle() []string {
	var out []string
	for _, k := range l.all {
		if k.used.Load() == 0 {
			out = append(out, k.ID)
		}
	}
	return out
}

// IDs lists the ids, each once, in the order of the file.
func (l *KnownList) IDs() []string {
	var out []string
	seen := map[string]bool{}
	for _, k := range l.all {
		if !seen[k.ID] {
			out = append(out, k.ID)
		}
		seen[k.ID] = true
	}
	return out
}
