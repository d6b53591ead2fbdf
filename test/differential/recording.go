package differential

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Recording is a side that knows what a server said. A recorder fills one.
type Recording struct {
	scenarios map[string]map[string]*Answer
	current   map[string]*Answer
}

// NewRecording is empty.
func NewRecording() *Recording { return &Recording{scenarios: map[string]map[string]*Answer{}} }

// Begin turns to a scenario.
func (r *Recording) Begin(scenario string) { r.current = r.scenarios[scenario] }

// Ask gives the recorded answer; nil when there is none.
func (r *Recording) Ask(_ context.Context, step *Step) *Answer { return r.current[step.Name] }

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
	r := NewRecording()
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.UseNumber()
	if err := dec.Decode(&r.scenarios); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// Write keeps the recording in a file; the same answers give the same bytes.
func (r *Recording) Write(file string) error {
	data, err := json.Marshal(r.scenarios)
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
func (r Recorder) Begin(scenario string) {
	r.To.scenarios[scenario] = map[string]*Answer{}
	r.To.Begin(scenario)
	r.Side.Begin(scenario)
}

// Ask asks the side and keeps the answer.
func (r Recorder) Ask(ctx context.Context, step *Step) *Answer {
	answer := r.Side.Ask(ctx, step)
	r.To.current[step.Name] = answer
	return answer
}
