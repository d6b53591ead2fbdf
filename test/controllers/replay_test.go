package controllers

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kubus.dev/test/differential"
)

var program = flag.String("kubus", "../../bin/kubus", "the program kubus (make build)")

// What kube-controller-manager made of the sequences in testdata/recorded is compared
// with what our controllers make of them now. A difference that testdata/known.yaml
// does not explain fails. To record anew: see docs/controllers.md.
func TestOurControllersMakeWhatUpstreamsMade(t *testing.T) {
	file, err := filepath.Abs(*program)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("kubus is missing: make build")
		}
		t.Skip("kubus is missing: make build")
	}
	recording, err := LoadRecording("testdata/recorded/short.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	known, err := differential.LoadKnown("testdata/known.yaml")
	if err != nil {
		t.Fatal(err)
	}
	sequences := recording.Of(Sequences(Options{Seed: recording.Seed, Random: recording.Random}))
	if len(sequences) < 20 {
		t.Fatalf("only %d sequences are recorded", len(sequences))
	}
	result := replay(t, file, recording, known, sequences, 10)
	differing := differing(result)
	if n := len(differing); n > 0 && n <= fewDiffer {
		t.Logf("once more, alone: %s", text(t, result))
		result = replay(t, file, recording, known, differing, 1)
	}
	if len(result.Restless) > 0 {
		t.Errorf("did not settle: %q", result.Restless)
	}
	if result.Open() > 0 {
		t.Errorf("%s", text(t, result))
	}
}

// fewDiffer sequences may differ for want of a free processor; they have to be right when
// they are played alone.
const fewDiffer = 3

// differing are the sequences in which something is not explained, or did not settle.
func differing(result *Result) []*Sequence {
	wrong := map[*Sequence]bool{}
	for _, f := range result.Findings {
		if f.Known == nil {
			wrong[f.Sequence] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(result.Played), func(s *Sequence) bool {
		return !wrong[s] && !slices.ContainsFunc(result.Restless, func(step string) bool { return strings.HasPrefix(step, s.Name+": ") })
	})
}

// replay plays sequences on a cluster of their own.
func replay(t *testing.T, program string, recording *Recording, known *differential.KnownList, sequences []*Sequence, atOnce int) *Result {
	t.Helper()
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := StartKubus(t.Context(), program, t.TempDir(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	kubus, err := NewLive(t.Context(), cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	result, err := Run(t.Context(), recording, kubus, sequences, known, atOnce, nil, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func text(t *testing.T, result *Result) string {
	t.Helper()
	var report bytes.Buffer
	if err := result.Report(&report); err != nil {
		t.Fatal(err)
	}
	return report.String()
}
