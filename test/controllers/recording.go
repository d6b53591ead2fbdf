package controllers

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Recording is what upstream's controllers made of sequences.
type Recording struct {
	// Seed and Random made the random ones among the sequences.
	Seed   uint64 `json:"seed"`
	Random int    `json:"random"`
	// Kept is by sequence and step.
	Kept map[string]map[string]Kept `json:"kept"`

	chosen *regexp.Regexp
	mu     sync.Mutex // guards Kept while it is filled
}

// Kept is what one step showed.
type Kept struct {
	Answers []string `json:"answers"`
	State   State    `json:"state"`
}

// NewRecording is empty. It takes sequences whose SUITE/NAME is chosen.
func NewRecording(seed uint64, random int, chosen *regexp.Regexp) *Recording {
	return &Recording{Seed: seed, Random: random, Kept: map[string]map[string]Kept{}, chosen: chosen}
}

// Keep adds a step.
func (r *Recording) Keep(sequence *Sequence, step string, k Kept) {
	if !r.chosen.MatchString(sequence.Suite + "/" + sequence.Name) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Kept[sequence.Name] == nil {
		r.Kept[sequence.Name] = map[string]Kept{}
	}
	r.Kept[sequence.Name][step] = k
}

// Of keeps the sequences of which something is recorded.
func (r *Recording) Of(sequences []*Sequence) []*Sequence {
	return slices.DeleteFunc(slices.Clone(sequences), func(s *Sequence) bool { return r.Kept[s.Name] == nil })
}

// Begin turns to a sequence.
func (r *Recording) Begin(_ context.Context, sequence string) Play {
	return &recorded{steps: r.Kept[sequence]}
}

type recorded struct{ steps map[string]Kept }

func (r *recorded) Do(_ context.Context, step *Step) []string { return r.steps[step.Name].Answers }

// Look shows what was recorded, which has been silent for ever.
func (r *recorded) Look(step *Step) (State, time.Duration, bool) {
	return r.steps[step.Name].State, time.Hour, true
}

func (r *recorded) Wake() <-chan struct{} { return nil }

func (r *recorded) End() {}

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
	r := &Recording{}
	if err := json.Unmarshal(plain, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// Write keeps the recording in a file; the same states give the same bytes.
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
