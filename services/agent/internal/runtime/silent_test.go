package runtime

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// shimOf is the pid of a sandbox's shim.
func (n *testNode) shimOf(s *Sandbox) int {
	n.t.Helper()
	data, err := os.ReadFile(filepath.Join(n.opts.sandboxDir(s.ID), "shim.pid"))
	if err != nil {
		n.t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		n.t.Fatal(err)
	}
	return pid
}

// silence stops a sandbox's shim until the function it returns is called.
func (n *testNode) silence(s *Sandbox) (wake func()) {
	n.t.Helper()
	pid := n.shimOf(s)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		n.t.Fatal(err)
	}
	wake = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	n.t.Cleanup(wake)
	return wake
}

func TestSilentShimIsNoDeadOne(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	id := n.run(s, img, "sleep 1000", nil)
	before, _ := n.ContainerStatus(id)
	wake := n.silence(s)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	n.open()
	if took := time.Since(began); took > 2*adoptPatience {
		t.Errorf("an agent waited %s for a silent shim", took)
	}
	if st, ok := n.ContainerStatus(id); !ok || st.State != ContainerUnknown {
		t.Errorf("while its shim is silent the container is %+v", st)
	}
	if got := n.Sandboxes()[0].State; got != SandboxReady {
		t.Errorf("while its shim is silent the sandbox is %v", got)
	}
	if err := syscall.Kill(before.PID, 0); err != nil {
		t.Fatalf("the container's process: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.Exec(ctx, id, ExecOptions{Command: []string{"true"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command meanwhile: %v", err)
	}
	wake()
	until(t, "the shim has answered", func() bool {
		st, _ := n.ContainerStatus(id)
		return st.State == ContainerRunning && st.PID == before.PID
	})
	if out, code := n.exec(id, "echo", "alive"); out != "alive\n" || code != 0 {
		t.Errorf("afterwards: %q, %d", out, code)
	}
}

func TestSilentShimKeepsNoPodFromEnding(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	id := n.run(s, img, "sleep 1000", nil)
	before, _ := n.ContainerStatus(id)
	n.silence(s)
	if err := n.StopContainer(t.Context(), id, 100*time.Millisecond); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if st := n.end(id); st.ExitCode != 137 || st.Reason != ReasonUnknown {
		t.Errorf("the container ended as %+v", st)
	}
	if err := n.RemoveSandbox(t.Context(), s.ID); err != nil {
		t.Errorf("removing: %v", err)
	}
	until(t, "the process is gone", func() bool { return syscall.Kill(before.PID, 0) == syscall.ESRCH })
}

func TestABusyMachineLosesNoPodByARestartOfItsAgent(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	pids := map[string]int{}
	for range 20 {
		id := n.run(n.pod(nil), img, "sleep 1000", nil)
		st, _ := n.ContainerStatus(id)
		pids[id] = st.PID
	}
	for range 4 * goruntime.NumCPU() {
		hog := exec.Command(needTool(t, "busybox"), "sh", "-c", "while :; do :; done")
		if err := hog.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = hog.Process.Kill(), hog.Wait() })
	}
	for range 3 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		n.open()
		t.Logf("adopted in %s", time.Since(began))
		until(t, "all containers are known", func() bool {
			for id, pid := range pids {
				if st, ok := n.ContainerStatus(id); !ok || st.State != ContainerRunning || st.PID != pid {
					return false
				}
			}
			return true
		})
	}
}
