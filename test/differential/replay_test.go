package differential

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// What kube-apiserver said to the steps of testdata/recorded is compared with what
// the gateway says to them now. A difference that testdata/known.yaml does not
// explain fails. To record anew: see docs/differential.md.
func TestTheGatewayAnswersAsUpstreamDid(t *testing.T) {
	recordings, err := filepath.Glob("testdata/recorded/*.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	if len(recordings) == 0 {
		t.Fatal("nothing is recorded")
	}
	known, err := LoadKnown("testdata/known.yaml")
	if err != nil {
		t.Fatal(err)
	}
	gateway, _ := startGateway(t)
	for _, file := range recordings {
		t.Run(filepath.Base(file), func(t *testing.T) {
			recording, err := LoadRecording(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := GiveBodies(recording.Kinds, "testdata/bodies.yaml"); err != nil {
				t.Fatal(err)
			}
			scenarios := recording.Of(Suites(recording.Kinds, Options{Prefix: "d"}))
			result, err := Run(t.Context(), recording, gateway, scenarios, known, 4)
			if err != nil {
				t.Fatal(err)
			}
			if result.Open() == 0 {
				t.Logf("%d scenarios, %d requests", result.Scenarios, result.Steps)
				return
			}
			var report bytes.Buffer
			if err := result.Report(&report); err != nil {
				t.Fatal(err)
			}
			t.Errorf("%s", &report)
		})
	}
}

// promised tells whether CI has promised the programs.
func promised() bool { return os.Getenv("CI") == "true" }
