package keep

import (
	"context"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kubus.dev/cmd/kubus-keeper/spec"
)

func TestTheDelayGrowsAndIsForgottenAfterALongRun(t *testing.T) {
	for name, c := range map[string]struct{ previous, ran, want time.Duration }{
		"the first restart is quick":          {0, time.Second, firstDelay},
		"a process that fails again waits":    {firstDelay, time.Second, 2 * firstDelay},
		"the delay has an upper bound":        {lastDelay, 0, lastDelay},
		"a process that ran long starts anew": {lastDelay, settled, firstDelay},
	} {
		if got := nextDelay(c.previous, c.ran); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

// keeper runs a keeper in this process until the returned stop, which waits.
func keeper(t *testing.T, s *spec.Spec) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&Keeper{Spec: s, Log: log.New(io.Discard, "", 0)}).Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func newSpec(t *testing.T, argv ...string) *spec.Spec {
	dir := t.TempDir()
	return &spec.Spec{
		RunDir: filepath.Join(dir, "run"), LogDir: filepath.Join(dir, "log"),
		Processes: []spec.Process{{Name: "it", Argv: argv, StopSeconds: 2}},
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func record(s *spec.Spec) spec.Record {
	r, err := spec.ReadRecord(spec.RecordFile(s.RunDir, "it"))
	if err != nil || r == nil {
		return spec.Record{}
	}
	return *r
}

func TestAKilledProcessIsStartedAgain(t *testing.T) {
	s := newSpec(t, "/bin/sleep", "1000")
	stop := keeper(t, s)
	await(t, "started", func() bool { return record(s).Alive() })
	first := record(s)
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "started again", func() bool { r := record(s); return r.PID != first.PID && r.Alive() })
	if got := record(s).Restarts; got != 1 {
		t.Errorf("restarts: got %d, want 1", got)
	}
	second := record(s)
	stop()
	if second.Alive() {
		t.Errorf("pid %d runs after the stop", second.PID)
	}
	if left, _ := os.ReadDir(s.RunDir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAProcessThatIgnoresTheStopIsKilled(t *testing.T) {
	s := newSpec(t, "/bin/sh", "-c", `trap "" TERM; echo ready; while :; do sleep 1; done`)
	s.Processes[0].StopSeconds = 1
	stop := keeper(t, s)
	await(t, "ready", func() bool {
		out, _ := os.ReadFile(filepath.Join(s.LogDir, "it.log"))
		return strings.Contains(string(out), "ready")
	})
	r := record(s)
	stop()
	if r.Alive() {
		t.Errorf("pid %d runs after the stop", r.PID)
	}
}

// orphan starts the process as a keeper that died would have left it.
func orphan(t *testing.T, s *spec.Spec) spec.Record {
	t.Helper()
	for _, dir := range []string{s.RunDir, s.LogDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p, err := start(&s.Processes[0], s.LogDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := spec.WriteRecord(spec.RecordFile(s.RunDir, "it"), p.Record); err != nil {
		t.Fatal(err)
	}
	go p.cmd.Wait() // reaps it, as init would
	return p.Record
}

func TestASecondKeeperAdoptsWhatRuns(t *testing.T) {
	s := newSpec(t, "/bin/sleep", "1000")
	r := orphan(t, s)
	stop := keeper(t, s)
	await(t, "the keeper is active", func() bool { r, _ := spec.Active(s.RunDir); return r != nil })
	if got := record(s).PID; got != r.PID {
		t.Errorf("pid: got %d, want the adopted %d", got, r.PID)
	}
	if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await(t, "started again", func() bool { now := record(s); return now.PID != r.PID && now.Alive() })
	stop()
}

func TestAStandbyWaitsForTheLockAndTakesOver(t *testing.T) {
	s := newSpec(t, "/bin/sleep", "1000")
	if err := os.MkdirAll(s.RunDir, 0o700); err != nil {
		t.Fatal(err)
	}
	held, err := acquire(t.Context(), spec.LockFile(s.RunDir))
	if err != nil {
		t.Fatal(err)
	}
	stop := keeper(t, s)
	if err := held.Close(); err != nil { // as the kernel does for a killed holder
		t.Fatal(err)
	}
	await(t, "started", func() bool { return record(s).Alive() })
	stop()
}

func TestAKeeperThatTakesOverDuringAStopFinishesIt(t *testing.T) {
	s := newSpec(t, "/bin/sleep", "1000")
	r := orphan(t, s)
	if err := os.WriteFile(spec.StoppingFile(s.RunDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Keeper{Spec: s, Log: log.New(io.Discard, "", 0)}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.Alive() {
		t.Errorf("pid %d runs after the stop", r.PID)
	}
}
