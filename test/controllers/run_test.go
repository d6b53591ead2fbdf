package controllers

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubus.dev/test/differential"
)

// script is a side that shows one state after another, each some time after the step.
type script struct {
	began time.Time
	after []time.Duration
	shows []State
}

func (s *script) Begin(context.Context, string) Play { return s }

func (s *script) Do(context.Context, *Step) []string {
	s.began = time.Now()
	return []string{"201"}
}

func (s *script) Look(*Step) (State, time.Duration, bool) {
	state, since := s.shows[0], time.Since(s.began)
	for i, d := range s.after {
		if time.Since(s.began) >= d {
			state, since = s.shows[i+1], time.Since(s.began)-d
		}
	}
	return state, since, true
}

func (s *script) Wake() <-chan struct{} { return nil }

func (s *script) End() {}

func TestWhenAStepIsOver(t *testing.T) {
	one, two := State{"jobs a": {"1"}}, State{"jobs a": {"2"}}
	always := func(s State) *script { return &script{shows: []State{s}} }
	for _, c := range []struct {
		name            string
		upstream, kubus *script
		found           int
		least, most     time.Duration
	}{
		{"as soon as both are calm and agree", always(one), always(one), 0, calm, 2 * time.Second},
		{"not before the slower one has come as far", always(two), &script{after: []time.Duration{5 * time.Second}, shows: []State{one, two}}, 0, 5 * time.Second, 8 * time.Second},
		{"with a finding when they stay silent and differ", always(one), always(two), 1, patience, 2 * patience},
		{"whichever of them is late", &script{after: []time.Duration{7 * time.Second}, shows: []State{one, two}}, always(two), 0, 7 * time.Second, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				sequence := &Sequence{Name: "s", Suite: "x", Steps: []Step{{Name: "only"}}}
				result, err := Run(t.Context(), c.upstream, c.kubus, []*Sequence{sequence}, nil, 1, nil, func(string) {})
				if took := time.Since(began); err != nil || len(result.Findings) != c.found || took < c.least || took > c.most {
					t.Errorf("%d findings after %v, %v; want %d after %v to %v", len(result.Findings), took, err, c.found, c.least, c.most)
				}
			})
		})
	}
}

func TestADifferenceIsFoundOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sequence := &Sequence{Name: "s", Suite: "x", Steps: []Step{{Name: "first"}, {Name: "second"}}}
		result, err := Run(t.Context(), &script{shows: []State{{"jobs a": {"1"}}}}, &script{shows: []State{{"jobs a": {"2"}}}}, []*Sequence{sequence}, nil, 1, nil, func(string) {})
		if err != nil || len(result.Findings) != 1 || result.Findings[0].Step != "first" {
			t.Errorf("found %+v, %v", result.Findings, err)
		}
		var report bytes.Buffer
		if err := result.Report(&report); err != nil || !strings.Contains(report.String(), "jobs a body") || !strings.Contains(report.String(), "1 differences nobody has explained") {
			t.Errorf("the report is %v\n%s", err, &report)
		}
	})
}

func TestWhatIsRecordedIsPlayedAgain(t *testing.T) {
	sequence := &Sequence{Name: "s", Suite: "x", Steps: []Step{{Name: "only"}}}
	made := NewRecording(3, 4, regexp.MustCompile("x/s"))
	upstream := State{"jobs a": {Object{"n": 1.0}}}
	synctest.Test(t, func(t *testing.T) {
		if _, err := Run(t.Context(), &script{shows: []State{upstream}}, &script{shows: []State{upstream}}, []*Sequence{sequence}, nil, 1, made, func(string) {}); err != nil {
			t.Fatal(err)
		}
	})
	file := filepath.Join(t.TempDir(), "r.json.gz")
	if err := made.Write(file); err != nil {
		t.Fatal(err)
	}
	read, err := LoadRecording(file)
	if err != nil || read.Seed != 3 || read.Random != 4 || len(read.Of([]*Sequence{sequence, {Name: "other"}})) != 1 {
		t.Fatalf("read %+v, %v", read, err)
	}
	synctest.Test(t, func(t *testing.T) {
		for want, kubus := range []State{upstream, {"jobs a": {Object{"n": 2.0}}}} {
			result, err := Run(t.Context(), read, &script{shows: []State{kubus}}, []*Sequence{sequence}, nil, 1, nil, func(string) {})
			if err != nil || result.Open() != want {
				t.Errorf("%d differences, %v; want %d", result.Open(), err, want)
			}
		}
		if _, err := Run(t.Context(), read, &script{shows: []State{upstream}}, []*Sequence{{Name: "other", Steps: sequence.Steps}}, nil, 1, nil, func(string) {}); err == nil {
			t.Error("what was not recorded is taken for the same")
		}
	})
}

func TestSequencesCanBeToldApart(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	steps := 0
	for _, s := range Sequences(Options{Seed: 1, Random: 50}) {
		if told[s.Name] || strings.Trim(s.Name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Errorf("%s is no name of one sequence", s.Name)
		}
		told[s.Name] = true
		names := map[string]bool{}
		for _, step := range s.Steps {
			if names[step.Name] {
				t.Errorf("%s has two steps %q", s.Name, step.Name)
			}
			names[step.Name] = true
			steps++
		}
	}
	if len(told) < 150 || steps < 1200 {
		t.Errorf("only %d sequences of %d steps are made", len(told), steps)
	}
}

func TestASeedMakesTheSameSequences(t *testing.T) {
	t.Parallel()
	names := func(seed uint64) (out []string) {
		for _, s := range random(seed, 20) {
			for _, step := range s.Steps {
				out = append(out, step.Name)
			}
		}
		return out
	}
	one, again, other := strings.Join(names(7), "\n"), strings.Join(names(7), "\n"), strings.Join(names(8), "\n")
	if one != again || one == other {
		t.Error("a seed does not decide what happens")
	}
}

func TestTheDocumentationExplainsWhatIsKnown(t *testing.T) {
	t.Parallel()
	list, err := differential.LoadKnown("testdata/known.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/divergences.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range list.IDs() {
		if !bytes.Contains(page, []byte("`"+id+"`")) {
			t.Errorf("docs/divergences.md does not mention `%s`", id)
		}
	}
}
