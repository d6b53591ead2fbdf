package keep

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
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

// reloading runs a keeper whose spec is in a file, and gives what tells it of a change.
func reloading(t *testing.T, s *spec.Spec) (change func()) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keeper.json")
	write := func() {
		data, err := json.Marshal(s)
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write()
	reload := make(chan os.Signal, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	k := &Keeper{Spec: s, File: file, Reload: reload, Log: log.New(io.Discard, "", 0)}
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func() {
		write()
		reload <- spec.Reload
		await(t, "the spec is followed", func() bool { return spec.Applied(s.RunDir, file) })
	}
}

func pidOf(s *spec.Spec, name string) int {
	r, err := spec.ReadRecord(spec.RecordFile(s.RunDir, name))
	if err != nil || r == nil || !r.Alive() {
		return 0
	}
	return r.PID
}

func TestAChangedSpecTouchesOnlyWhatItChanges(t *testing.T) {
	s := newSpec(t, "/bin/sleep", "1000")
	s.Processes = append(s.Processes,
		spec.Process{Name: "stamped", Argv: []string{"/bin/sleep", "1001"}, Stamp: "1"},
		spec.Process{Name: "leaves", Argv: []string{"/bin/sleep", "1002"}})
	change := reloading(t, s)
	await(t, "all started", func() bool { return pidOf(s, "it") != 0 && pidOf(s, "stamped") != 0 && pidOf(s, "leaves") != 0 })
	it, stamped := pidOf(s, "it"), pidOf(s, "stamped")
	s.Processes[1].Stamp = "2"
	s.Processes[2] = spec.Process{Name: "joins", Argv: []string{"/bin/sleep", "1003"}}
	change()
	if pid := pidOf(s, "leaves"); pid != 0 {
		t.Errorf("the one that left still runs: %d", pid)
	}
	await(t, "the new one started", func() bool { return pidOf(s, "joins") != 0 })
	await(t, "the one with another stamp started anew", func() bool { p := pidOf(s, "stamped"); return p != 0 && p != stamped })
	if got := pidOf(s, "it"); got != it {
		t.Errorf("the one that did not change has pid %d, it had %d", got, it)
	}
}

func TestAProcessIsStartedInItsNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("namespaces need root")
		}
		t.Skip("namespaces need root")
	}
	other := exec.Command("/bin/sleep", "1000")
	other.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS | syscall.CLONE_NEWNET}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	s := newSpec(t, "/bin/sleep", "1000")
	of := func(pid int, kind string) string { return fmt.Sprintf("/proc/%d/ns/%s", pid, kind) }
	s.Processes[0].Namespaces = []string{of(other.Process.Pid, "net"), of(other.Process.Pid, "uts")}
	defer keeper(t, s)()
	await(t, "started", func() bool { return pidOf(s, "it") != 0 })
	for _, kind := range []string{"net", "uts", "mnt"} {
		want, err := os.Readlink(of(other.Process.Pid, kind))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.Readlink(of(pidOf(s, "it"), kind))
		if err != nil || got != want {
			t.Errorf("it is in %s, want %s (%v)", got, want, err)
		}
		if own, _ := os.Readlink("/proc/self/ns/" + kind); kind != "mnt" && own == want {
			t.Errorf("the keeper itself is in %s", own)
		}
	}
}
