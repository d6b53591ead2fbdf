package runtime

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kubus.dev/services/agent/internal/shim"
)

// traces counts what pods can leave on the machine and in this process.
func (n *testNode) traces() string {
	count := func(dir string) int { entries, _ := os.ReadDir(dir); return len(entries) }
	mounts, _ := os.ReadFile("/proc/mounts")
	links, _ := exec.Command("ls", "/sys/class/net").Output()
	veths := strings.Count(string(links), "kv"+n.network.Bridge()[3:8])
	groups := 0
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.Contains(path, "kubus-"+n.opts.Instance+"/pod") {
			groups++
		}
		return nil
	})
	return fmt.Sprintf("pods %d, namespaces %d, runc %d, uppers %d, leases %d, mounts %d, veths %d, cgroups %d",
		count(n.opts.podsDir()), count(n.opts.nsDir()), count(n.opts.runcDir()), count(n.opts.upperDir()),
		count(filepath.Join(n.opts.agentDir(), "network", "leases")), strings.Count(string(mounts), n.opts.RunDir), veths, groups)
}

func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

func TestPodsAndExecsLeaveNothingBehind(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	cycle := func() {
		s := n.pod(nil)
		id := n.run(s, img, "sleep 1000", nil)
		n.exec(id, "true")
		if err := n.RemoveSandbox(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	cycle()
	before, files, goroutines := n.traces(), descriptors(), goruntime.NumGoroutine()
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for range 6 {
				cycle()
			}
		})
	}
	work.Wait()
	until(t, "descriptors are closed", func() bool { return descriptors() <= files })
	until(t, "goroutines end", func() bool { return goruntime.NumGoroutine() <= goroutines+2 })
	if after := n.traces(); after != before {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
}

func TestASandboxThatCannotBeMadeLeavesNothing(t *testing.T) {
	n := newTestNode(t)
	before := n.traces()
	for name, change := range map[string]func(*SandboxSpec){
		"a sysctl of the node":       func(s *SandboxSpec) { s.Sysctls = map[string]string{"kernel.panic": "1"} },
		"a sysctl that is none":      func(s *SandboxSpec) { s.Sysctls = map[string]string{"net.nonsense": "1"} },
		"an impossible memory limit": func(s *SandboxSpec) { s.Resources.MemoryLimit = 1 },
		"a cgroup outside":           func(s *SandboxSpec) { s.CgroupParent = "../../x" },
		"an unknown runtime":         func(s *SandboxSpec) { s.RuntimeHandler = "gvisor" },
		"a hostPort of no protocol":  func(s *SandboxSpec) { s.PortMappings = []PortMapping{{Protocol: "x", HostPort: 1, ContainerPort: 1}} },
	} {
		spec := SandboxSpec{PodUID: newID()[:12], Hostname: "p"}
		change(&spec)
		s, err := n.RunSandbox(t.Context(), spec)
		if err == nil {
			if name == "an impossible memory limit" { // some kernels round it up
				_ = n.RemoveSandbox(t.Context(), s.ID)
				continue
			}
			t.Errorf("%s: no error", name)
		}
		t.Logf("%s: %v", name, err)
	}
	until(t, "everything is gone", func() bool { return n.traces() == before })
}

func TestACrashWhileASandboxIsMadeIsCleanedUp(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	before := n.traces()
	s := n.pod(nil)
	n.run(s, img, "sleep 1000", nil)
	box, err := n.sandbox(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	n.Close()
	box.record.Whole = false // as the disk is until the last step
	if err := box.save(); err != nil {
		t.Fatal(err)
	}
	n.open()
	if left := n.Sandboxes(); len(left) != 0 {
		t.Errorf("adopted: %+v", left)
	}
	if after := n.traces(); after != before {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
}

func TestManyPodsStartAtOnce(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	begin := time.Now()
	var work sync.WaitGroup
	for range 20 {
		work.Go(func() { n.run(n.pod(nil), img, "sleep 1000", nil) })
	}
	work.Wait()
	t.Logf("20 pods in %s", time.Since(begin))
	seen := map[string]bool{}
	for _, s := range n.Sandboxes() {
		if seen[s.IPs[0]] {
			t.Errorf("address %s is given twice", s.IPs[0])
		}
		seen[s.IPs[0]] = true
	}
	n.Close()
	begin = time.Now()
	n.open()
	t.Logf("adopted in %s", time.Since(begin))
	for _, s := range n.Sandboxes() {
		if c := n.Containers(s.ID); s.State != SandboxReady || len(c) != 1 || c[0].State != ContainerRunning {
			t.Errorf("%+v %+v", s, c)
		}
	}
}

func TestHaltKeepsImagesAndStartsAnew(t *testing.T) {
	n := newTestNode(t)
	ref := busybox(t)
	img := n.pull(ref)
	n.run(n.pod(nil), img, "sleep 1000", nil)
	n.Close()
	if err := Halt(t.Context(), n.opts, time.Second); err != nil {
		t.Fatal(err)
	}
	checkNothingLeft(t, Options{RunDir: n.opts.RunDir, DataDir: "/nowhere", Instance: n.opts.Instance})
	n.open()
	if _, ok := n.ResolveImage(ref); !ok || len(n.Sandboxes()) != 0 {
		t.Error("images are gone or sandboxes are not")
	}
}

func TestAWorkingDirThroughALeakedDescriptorIsRefused(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	for fd := range 16 {
		id, err := n.CreateContainer(t.Context(), s.ID, ContainerSpec{Name: "c", Image: img.ID, Attempt: fd,
			Command: []string{"cat", "../../../etc/hostname"}, WorkingDir: fmt.Sprintf("/proc/self/fd/%d", fd)})
		if err != nil {
			continue
		}
		if err := n.StartContainer(t.Context(), id); err == nil {
			if st := n.end(id); st.ExitCode == 0 {
				t.Errorf("descriptor %d led out of the container", fd)
			}
		}
		if err := n.RemoveContainer(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

func TestAHostPortLeadsToThePod(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	port := uint16(20000 + os.Getpid()%10000)
	s := n.pod(func(s *SandboxSpec) {
		s.PortMappings = []PortMapping{{HostPort: port, ContainerPort: 80, Protocol: "TCP"}}
	})
	n.run(s, img, "busybox mkdir -p /tmp/w; echo served > /tmp/w/index.html; httpd -f -p 80 -h /tmp/w", nil)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	until(t, "the port answers", func() bool {
		out, _ := exec.Command("busybox", "wget", "-q", "-O", "-", url).Output()
		return strings.Contains(string(out), "served")
	})
	if err := n.RemoveSandbox(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	rules, _ := exec.Command("iptables-save").Output()
	if strings.Contains(string(rules), fmt.Sprintf("--dport %d ", port)) {
		t.Error("the rule is left")
	}
}

// cutStart makes a container look as if the agent had died just before it asked the shim to start it.
func (n *testNode) cutStart(s *Sandbox, img *Image) (id string) {
	n.t.Helper()
	id, err := n.CreateContainer(n.t.Context(), s.ID, ContainerSpec{Name: "c", Image: img.ID, Command: []string{"sleep", "1000"}})
	if err != nil {
		n.t.Fatal(err)
	}
	c, err := n.container(id)
	if err != nil {
		n.t.Fatal(err)
	}
	c.record.Started = true
	if err := c.save(); err != nil {
		n.t.Fatal(err)
	}
	return id
}

func TestAContainerWhoseStartNeverReachedItsShimIsAsBefore(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	runs := n.run(s, img, "sleep 1000", nil)
	id := n.cutStart(s, img)
	n.Close()
	n.open()
	if st, ok := n.ContainerStatus(id); !ok || st.State != ContainerCreated {
		t.Fatalf("it is %+v", st)
	}
	if st, ok := n.ContainerStatus(runs); !ok || st.State != ContainerRunning {
		t.Errorf("the one that runs is %+v", st)
	}
	box, err := n.sandbox(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	late := &shim.Request{Op: shim.OpStart, ID: id, Start: &shim.StartRequest{Runtime: n.opts.Runc, Direct: true}}
	if _, err := box.ask(t.Context(), late); err == nil {
		t.Error("a start that comes late is not refused")
	}
	if err := n.RemoveContainer(t.Context(), id); err != nil {
		t.Error(err)
	}
	if err := n.RemoveSandbox(t.Context(), s.ID); err != nil {
		t.Error(err)
	}
}
