package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kubus.dev/test/differential"
)

// Settling. A side that wrote nothing for calm may have settled; if it then differs
// from the other it has until it was silent for patience. A step that takes longest
// does not settle.
const (
	calm     = 1500 * time.Millisecond
	patience = 8 * time.Second
	longest  = 150 * time.Second
)

// Side plays sequences.
type Side interface {
	Begin(ctx context.Context, sequence string) Play
}

// Play is one sequence on a side.
type Play interface {
	// Do does a step and gives the answers.
	Do(ctx context.Context, step *Step) []string
	// Look gives the state, and for how long it has been silent. reached tells that
	// what the step awaits is there.
	Look(step *Step) (state State, silent time.Duration, reached bool)
	// Wake holds something when there may be something new.
	Wake() <-chan struct{}
	// End frees what the play held. Once.
	End()
}

// Finding is a difference that one step showed first.
type Finding struct {
	Sequence *Sequence
	Step     string
	differential.Difference
	// Known is the explanation; nil: nobody gave one.
	Known *differential.Known
}

// Result is what a run found.
type Result struct {
	Sequences, Steps, Objects int
	Played                    []*Sequence
	Findings                  []Finding
	// Restless are steps that did not settle.
	Restless []string
}

// Open counts the differences that nobody explained.
func (r *Result) Open() int {
	n := 0
	for _, f := range r.Findings {
		if f.Known == nil {
			n++
		}
	}
	return n
}

// Run plays the sequences on both sides in lock step, several at a time. keep is given
// what upstream's side showed after each step; it may be nil. log hears of each
// sequence's end.
func Run(ctx context.Context, upstream, kubus Side, sequences []*Sequence, known *differential.KnownList, atOnce int, keep *Recording, log func(string)) (*Result, error) {
	results := make([]*Result, len(sequences))
	var mu sync.Mutex
	var errs []error
	var wait sync.WaitGroup
	next := make(chan int)
	for range max(atOnce, 1) {
		wait.Go(func() {
			for i := range next {
				r, err := one(ctx, upstream, kubus, sequences[i], known, keep)
				mu.Lock()
				results[i], errs = r, append(errs, err)
				mu.Unlock()
				log(fmt.Sprintf("%s %s: %d steps, %d findings", sequences[i].Suite, sequences[i].Name, r.Steps, r.Open()))
			}
		})
	}
	for i := range sequences {
		if ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	wait.Wait()
	out := &Result{}
	for _, r := range results {
		if r == nil {
			continue
		}
		out.Sequences++
		out.Played = append(out.Played, r.Played...)
		out.Steps += r.Steps
		out.Objects += r.Objects
		out.Findings = append(out.Findings, r.Findings...)
		out.Restless = append(out.Restless, r.Restless...)
	}
	return out, errors.Join(errs...)
}

func one(ctx context.Context, upstream, kubus Side, sequence *Sequence, known *differential.KnownList, keep *Recording) (*Result, error) {
	out := &Result{Played: []*Sequence{sequence}}
	left, right := upstream.Begin(ctx, sequence.Name), kubus.Begin(ctx, sequence.Name)
	defer left.End()
	defer right.End()
	shown := map[differential.Difference]bool{}
	for i := range sequence.Steps {
		step := &sequence.Steps[i]
		var a, b []string
		var both sync.WaitGroup
		both.Go(func() { a = left.Do(ctx, step) })
		b = right.Do(ctx, step)
		both.Wait()
		if a == nil && ctx.Err() == nil {
			return out, fmt.Errorf("nothing is recorded of %s, step %q", sequence.Name, step.Name)
		}
		explain := func(d differential.Difference) *differential.Known {
			return known.Explain(sequence.Suite+"/"+sequence.Name, step.Name, d)
		}
		state, found, settled := settle(ctx, left, right, step, func(d differential.Difference) bool {
			return shown[class(d)] || explain(d) != nil
		})
		if ctx.Err() != nil {
			return out, nil // what was cut off tells nothing
		}
		if !settled {
			out.Restless = append(out.Restless, sequence.Name+": "+step.Name)
		}
		out.Steps++
		out.Objects += state.Objects()
		if keep != nil {
			keep.Keep(sequence, step.Name, Kept{Answers: a, State: state})
		}
		if !slices.Equal(a, b) {
			found = append(found, differential.Difference{Aspect: "answers", Upstream: fmt.Sprint(a), Kubus: fmt.Sprint(b)})
		}
		for _, d := range found {
			if !shown[class(d)] {
				shown[class(d)] = true
				out.Findings = append(out.Findings, Finding{sequence, step.Name, d, explain(d)})
			}
		}
	}
	return out, nil
}

func class(d differential.Difference) differential.Difference {
	d.Aspect = d.Class()
	return d
}

// settle waits until the sides agree, or are silent for long, and gives upstream's
// state and how ours differs. Differences that are explained do not make it wait.
func settle(ctx context.Context, left, right Play, step *Step, explained func(differential.Difference) bool) (State, []differential.Difference, bool) {
	began := time.Now()
	enough := max(patience, step.Patience)
	for {
		a, silentA, reachedA := left.Look(step)
		b, silentB, reachedB := right.Look(step)
		silent := min(silentA, silentB, time.Since(began))
		late := time.Since(began) > longest
		if late || ctx.Err() != nil || silent >= calm && reachedA && reachedB || silent >= 3*enough {
			found := Compare(a, b)
			if late || ctx.Err() != nil || silent >= enough || !slices.ContainsFunc(found, func(d differential.Difference) bool { return !explained(d) }) {
				return a, found, !late && reachedA && reachedB
			}
		}
		next := calm - silent
		if next <= 0 {
			next = time.Second
		}
		select {
		case <-ctx.Done():
		case <-left.Wake():
		case <-right.Wake():
		case <-time.After(next):
			continue
		}
		// Writes come in bursts: look when one may be over.
		select {
		case <-ctx.Done():
		case <-time.After(calm / 4):
		}
	}
}
