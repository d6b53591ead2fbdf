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

// Run plays the scenarios on both sides in lock step, several at a time: first those
// that look at the whole server, one after another. It ends early with ctx.
func Run(ctx context.Context, upstream, kubus Side, scenarios []*Scenario, known *KnownList, atOnce int) (*Result, error) {
	if err := unique(scenarios); err != nil {
		return nil, err
	}
	results := make([]*Result, len(scenarios))
	play := func(i int) error {
		if ctx.Err() != nil {
			return nil
		}
		var err error
		results[i], err = playOne(ctx, upstream, kubus, scenarios[i], known)
		return err
	}
	var errs []error
	for i, s := range scenarios {
		if s.Whole {
			errs = append(errs, play(i))
		}
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	next := make(chan int)
	for range max(atOnce, 1) {
		wait.Go(func() {
			for i := range next {
				err := play(i)
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	for i, s := range scenarios {
		if !s.Whole {
			next <- i
		}
	}
	close(next)
	wait.Wait()
	out := &Result{}
	for _, r := range results {
		if r != nil {
			out.Scenarios++
			out.Steps += r.Steps
			out.Findings = append(out.Findings, r.Findings...)
		}
	}
	return out, errors.Join(errs...)
}

func playOne(ctx context.Context, upstream, kubus Side, scenario *Scenario, known *KnownList) (*Result, error) {
	out := &Result{}
	left, right := upstream.Begin(scenario.Name), kubus.Begin(scenario.Name)
	for i := range scenario.Steps {
		step := &scenario.Steps[i]
		a, b := both(ctx, left, right, step)
		if ctx.Err() != nil {
			return out, nil // what was cut off tells nothing
		}
		if a == nil {
			return out, fmt.Errorf("nothing is recorded of %s, step %q", scenario.Name, step.Name)
		}
		out.Steps++
		for _, d := range Compare(a, b) {
			out.Findings = append(out.Findings, Finding{scenario.Name, step, d, known.Explain(scenario.Name, step.Name, d)})
		}
	}
	return out, nil
}

// both asks both sides at once.
func both(ctx context.Context, upstream, kubus Session, step *Step) (a, b *Answer) {
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
