package differential

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// Recording is a side that knows what a server said. A Recorder fills one.
type Recording struct {
	// Kinds are those that the scenarios are about.
	Kinds     []*Kind                       `json:"kinds"`
	Scenarios map[string]map[string]*Answer `json:"scenarios"`

	mu sync.Mutex // guards Scenarios while a Recorder fills it
}

// NewRecording is empty.
func NewRecording(kinds []*Kind) *Recording {
	return &Recording{Kinds: kinds, Scenarios: map[string]map[string]*Answer{}}
}

// Of keeps the scenarios of which something is recorded.
func (r *Recording) Of(scenarios []*Scenario) []*Scenario {
	return slices.DeleteFunc(slices.Clone(scenarios), func(s *Scenario) bool { return r.Scenarios[s.Name] == nil })
}

// recorded is one scenario's answers, by step.
type recorded map[string]*Answer

// Begin turns to a scenario.
func (r *Recording) Begin(scenario string) Session { return recorded(r.Scenarios[scenario]) }

// Ask gives the recorded answer; nil when there is none.
func (r recorded) Ask(_ context.Context, step *Step) *Answer { return r[step.Name] }

// LoadRecording reads what Write wrote.
func LoadRecording(file string) (*Recording, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	in, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	plain, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	r := NewRecording(nil)
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.UseNumber()
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// Write keeps the recording in a file; the same answers give the same bytes.
func (r *Recording) Write(file string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zip.Write(data); err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

// Recorder passes steps on to a side and keeps its answers.
type Recorder struct {
	Side
	To *Recording
}

// Begin starts a scenario on the side and in the recording.
func (r Recorder) Begin(scenario string) Session {
	answers := map[string]*Answer{}
	r.To.mu.Lock()
	r.To.Scenarios[scenario] = answers
	r.To.mu.Unlock()
	return recording{r.Side.Begin(scenario), answers}
}

type recording struct {
	Session
	answers map[string]*Answer
}

// Ask asks the side and keeps the answer.
func (r recording) Ask(ctx context.Context, step *Step) *Answer {
	answer := r.Session.Ask(ctx, step)
	r.answers[step.Name] = answer
	return answer
}
