package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kubus.dev/services/agent/internal/cgroup"
)

// initOf is the pid of the first process of a sandbox's shared process namespace, as the node sees it.
func (n *testNode) initOf(s *Sandbox) int {
	n.t.Helper()
	box, err := n.sandbox(s.ID)
	if err != nil {
		n.t.Fatal(err)
	}
	pids := cgroup.Processes(cgroup.Dirs(filepath.Join(box.record.Cgroup, s.ID)))
	if len(pids) != 1 {
		n.t.Fatalf("the init's cgroup has %v", pids)
	}
	return pids[0]
}

func TestFinding8aTheInitOfSharedProcessesIsAContainer(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(func(s *SandboxSpec) { s.ShareProcessNamespace = true })
	id := n.run(s, img, "sleep 1000", func(c *ContainerSpec) { c.Security.AddCapabilities = []string{"SYS_PTRACE"} })
	if out, code := n.exec(id, "ls", "/proc/1/root/"); code != 0 || strings.Contains(out, "etc") || strings.Contains(out, "bin") {
		t.Errorf("its root holds %q, %d", out, code)
	}
	status, _ := n.exec(id, "cat", "/proc/1/status")
	for _, want := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "Uid:\t65535"} {
		if !strings.Contains(status, want) {
			t.Errorf("its status lacks %q:\n%s", want, status)
		}
	}
	groups, err := os.ReadFile("/proc/" + itoa(n.initOf(s)) + "/cgroup")
	if box, _ := n.sandbox(s.ID); err != nil || !strings.Contains(string(groups), box.record.Cgroup) {
		t.Errorf("it is in %s, %v", groups, err)
	}
	if _, code := n.exec(id, "kill", "1"); code != 0 {
		t.Errorf("kill 1: %d", code)
	}
	if out, _ := n.exec(id, "ps"); !strings.Contains(out, "sleep 1000") {
		t.Errorf("ps shows:\n%s", out)
	}
}

func TestASandboxEndsWithItsInit(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(func(s *SandboxSpec) { s.ShareProcessNamespace = true })
	id := n.run(s, img, "sleep 1000", nil)
	if err := syscall.Kill(n.initOf(s), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if st := n.end(id); st.ExitCode != 137 || st.Reason != ReasonError {
		t.Errorf("the container ended as %+v", st)
	}
	until(t, "the sandbox is not ready", func() bool { return n.Sandboxes()[0].State == SandboxNotReady })
}

func TestProcessNamespacesAreKeptAndNotJoinedByANumber(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	shared := n.pod(func(s *SandboxSpec) { s.ShareProcessNamespace = true })
	plain := n.pod(nil)
	target := n.run(plain, img, "sleep 4321", nil)
	debug := func(c *ContainerSpec) { c.Name, c.TargetContainerID = "debug", target }
	for id, of := range map[string]int{
		n.run(shared, img, "sleep 1000", nil):  n.initOf(shared),
		n.run(plain, img, "sleep 1000", debug): n.container0(target).PID,
	} {
		c, err := n.container(id)
		if err != nil {
			t.Fatal(err)
		}
		spec, err := c.readSpec()
		if err != nil {
			t.Fatal(err)
		}
		for _, ns := range spec.Linux.Namespaces {
			if strings.HasPrefix(ns.Path, "/proc/") {
				t.Errorf("namespace %s is joined by %s", ns.Type, ns.Path)
			}
			if ns.Type != "pid" {
				continue
			}
			var kept, is unix.Stat_t
			if err := unix.Stat(ns.Path, &kept); err != nil {
				t.Fatal(err)
			}
			if err := unix.Stat("/proc/"+itoa(of)+"/ns/pid", &is); err != nil || kept.Ino != is.Ino {
				t.Errorf("%s is %d, the process's is %d, %v", ns.Path, kept.Ino, is.Ino, err)
			}
		}
	}
	if err := pinProcesses(os.Getpid(), inContainer(target), filepath.Join(t.TempDir(), "ns")); !errors.Is(err, errReused) {
		t.Error("the namespace of a process that is not the container's was kept")
	}
}

func TestTheInitOfAnAgentOfBeforeIsKept(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(func(s *SandboxSpec) { s.ShareProcessNamespace = true })
	n.run(s, img, "sleep 4321", nil)
	box, err := n.sandbox(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	box.record.PIDInit = n.initOf(s) // as such an agent would have left it
	if err := box.save(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(box.nsPath("pid"), 0); err != nil {
		t.Fatal(err)
	}
	n.Close()
	n.open()
	other := n.run(s, img, "sleep 1000", nil)
	if out, _ := n.exec(other, "ps"); !strings.Contains(out, "sleep 4321") {
		t.Errorf("ps shows:\n%s", out)
	}
}

// container0 is a container's status.
func (n *testNode) container0(id string) *ContainerStatus {
	n.t.Helper()
	st, ok := n.ContainerStatus(id)
	if !ok {
		n.t.Fatalf("no container %s", id)
	}
	return st
}
