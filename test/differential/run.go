package differential

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Finding is what one step showed.
type Finding struct {
	Scenario string
	Step     *Step
	Difference
	// Known is the explanation; nil: nobody gave one.
	Known *Known
}

// Result is what a run found.
type Result struct {
	Scenarios, Steps int
	Findings         []Finding
	// Lacking are the kinds that could not be compared, and why.
	Lacking []string
}

// Run plays the scenarios on both sides in lock step.
func Run(ctx context.Context, upstream, kubus Side, scenarios []*Scenario, known *KnownList) (*Result, error) {
	if err := unique(scenarios); err != nil {
		return nil, err
	}
	out := &Result{}
	for _, scenario := range scenarios {
		upstream.Begin(scenario.Name)
		kubus.Begin(scenario.Name)
		for i := range scenario.Steps {
			step := &scenario.Steps[i]
			a, b := both(ctx, upstream, kubus, step)
			if err := ctx.Err(); err != nil {
				return out, err
			}
			out.Steps++
			if a == nil {
				return nil, fmt.Errorf("nothing is recorded of %s, step %q", scenario.Name, step.Name)
			}
			for _, d := range Compare(a, b) {
				out.Findings = append(out.Findings, Finding{scenario.Name, step, d, known.explain(scenario.Name, step.Name, d)})
			}
		}
		out.Scenarios++
	}
	return out, nil
}

// both asks both sides at once.
func both(ctx context.Context, upstream, kubus Side, step *Step) (a, b *Answer) {
	var wg sync.WaitGroup
	wg.Go(func() { a = upstream.Ask(ctx, step) })
	b = kubus.Ask(ctx, step)
	wg.Wait()
	return a, b
}

// unique says that steps can be told apart by their names, and scenarios by theirs.
func unique(scenarios []*Scenario) error {
	var errs []error
	told := map[string]bool{}
	for _, scenario := range scenarios {
		if told[scenario.Name] {
			errs = append(errs, fmt.Errorf("there are two scenarios %s", scenario.Name))
		}
		told[scenario.Name] = true
		names := map[string]bool{}
		for i := range scenario.Steps {
			name := scenario.Steps[i].Name
			if names[name] {
				errs = append(errs, fmt.Errorf("scenario %s has two steps %q", scenario.Name, name))
			}
			names[name] = true
		}
	}
	return errors.Join(errs...)
}
