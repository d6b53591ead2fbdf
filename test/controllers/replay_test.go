package controllers

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
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
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := StartKubus(t.Context(), file, t.TempDir(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Stop()
	kubus, err := NewLive(t.Context(), cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	sequences := recording.Of(Sequences(Options{Seed: recording.Seed, Random: recording.Random}))
	if len(sequences) < 20 {
		t.Fatalf("only %d sequences are recorded", len(sequences))
	}
	result, err := Run(t.Context(), recording, kubus, sequences, known, 10, nil, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Restless) > 0 {
		t.Errorf("did not settle: %q", result.Restless)
	}
	if result.Open() > 0 {
		var report bytes.Buffer
		if err := result.Report(&report); err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s", &report)
	}
}
