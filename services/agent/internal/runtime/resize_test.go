package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubus.dev/services/agent/internal/cgroup"
)

// setting reads one file of a group as the host shows it; v1 and v2 name it differently.
func setting(t *testing.T, path, v1, v2 string) string {
	t.Helper()
	file := filepath.Join(cgroup.Root, filepath.Dir(v1), path, filepath.Base(v1))
	if cgroup.V2() {
		file = filepath.Join(cgroup.Root, path, v2)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestARunningContainerIsResizedAndGoesOn(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	small := Resources{CPUShares: 20, CPUQuota: 3000, CPUPeriod: 100000, MemoryLimit: 64 << 20}
	big := Resources{CPUShares: 40, CPUQuota: 6000, CPUPeriod: 100000, MemoryLimit: 128 << 20}
	s := n.pod(func(s *SandboxSpec) { s.Resources = small; s.Resources.PidsLimit = 77 })
	id := n.run(s, img, "sleep 1000", func(c *ContainerSpec) {
		c.Resources, c.Labels = small, map[string]string{"kept": "yes", "size": "small"}
	})
	before, _ := n.ContainerStatus(id)
	pod := filepath.Dir(before.Cgroup)

	grow := func(r Resources, size string) {
		t.Helper()
		if err := n.ResizeSandbox(t.Context(), s.ID, r); err != nil {
			t.Fatal(err)
		}
		if err := n.ResizeContainer(t.Context(), id, r, map[string]string{"size": size}); err != nil {
			t.Fatal(err)
		}
	}
	grow(big, "big")
	for _, group := range []string{pod, before.Cgroup} {
		if got := setting(t, group, "memory/memory.limit_in_bytes", "memory.max"); got != "134217728" {
			t.Errorf("memory of %s: %s", group, got)
		}
		if got := setting(t, group, "cpu/cpu.cfs_quota_us", "cpu.max"); !strings.HasPrefix(got, "6000") {
			t.Errorf("quota of %s: %s", group, got)
		}
	}
	if got := setting(t, pod, "pids/pids.max", "pids.max"); got != "77" {
		t.Errorf("the limit of processes became %s", got)
	}
	if used, err := n.MemoryUsed(id); err != nil || used <= 0 || used > 128<<20 {
		t.Errorf("used: %d, %v", used, err)
	}

	n.Close() // the next agent knows
	n.open()
	until(t, "the container is known again", func() bool { st, ok := n.ContainerStatus(id); return ok && st.State == ContainerRunning })
	after, _ := n.ContainerStatus(id)
	if after.PID != before.PID || after.Resources != big || after.Labels["size"] != "big" || after.Labels["kept"] != "yes" {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	for _, sb := range n.Sandboxes() {
		if sb.Resources.MemoryLimit != big.MemoryLimit || sb.Resources.PidsLimit != 77 {
			t.Errorf("sandbox: %+v", sb)
		}
	}

	// Down again, the container first; without a limit in the end.
	if err := n.ResizeContainer(t.Context(), id, small, nil); err != nil {
		t.Fatal(err)
	}
	if err := n.ResizeSandbox(t.Context(), s.ID, Resources{CPUShares: 2}); err != nil {
		t.Fatal(err)
	}
	if got := setting(t, pod, "cpu/cpu.cfs_quota_us", "cpu.max"); got != "-1" && got != "max 100000" {
		t.Errorf("quota without a limit: %s", got)
	}
	if err := n.StopContainer(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.ResizeContainer(t.Context(), id, big, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("resizing one that has ended: %v", err)
	}
}

func TestALimitBelowWhatIsUsedIsRefusedAndChangesNothing(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	s := n.pod(nil)
	const script = "x=$(yes | head -c 24000000); echo full; while true; do sleep 1; done"
	id := n.run(s, img, script, func(c *ContainerSpec) { c.Resources = Resources{MemoryLimit: 512 << 20} })
	until(t, "memory is taken", func() bool { return strings.Contains(n.log(id), "full") })
	err := n.ResizeContainer(t.Context(), id, Resources{MemoryLimit: 4 << 20}, nil)
	st, _ := n.ContainerStatus(id)
	if err == nil || st.State != ContainerRunning || st.Resources.MemoryLimit != 512<<20 {
		t.Errorf("%v, %+v", err, st)
	}
	if err := n.StopContainer(t.Context(), id, time.Millisecond); err != nil {
		t.Fatal(err)
	}
}

func TestAContainerIsMovedToOtherCPUs(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	id := n.run(n.pod(nil), img, "sleep 1000", nil)
	const last = "0" // every machine has it
	if err := n.PlaceContainer(t.Context(), id, last); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		out, _ := n.exec(id, "cat", "/proc/1/status")
		if st, _ := n.ContainerStatus(id); !strings.Contains(out, "Cpus_allowed_list:\t"+last+"\n") || st.Resources.CpusetCpus != last {
			t.Errorf("noted %q, in\n%s", st.Resources.CpusetCpus, out)
		}
	}
	check()
	n.Close()
	n.open() // the next agent knows it
	check()
	if err := n.PlaceContainer(t.Context(), id, "none"); err == nil {
		t.Error("it was moved to what is no CPU")
	}
	check()
	if err := n.StopContainer(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	if err := n.PlaceContainer(t.Context(), id, last); !errors.Is(err, ErrNotRunning) {
		t.Errorf("one that has ended: %v", err)
	}
}
