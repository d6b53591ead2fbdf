package runtime

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkPodStart tells where the time of a pod's start and end goes, image present.
func BenchmarkPodStart(b *testing.B) {
	n := newTestNode(b)
	img := n.pull(busybox(b))
	steps := map[string][]time.Duration{}
	step := func(name string, f func() error) {
		begin := time.Now()
		if err := f(); err != nil {
			b.Fatal(name, err)
		}
		steps[name] = append(steps[name], time.Since(begin))
	}
	for b.Loop() {
		var s *Sandbox
		var id string
		begin := time.Now()
		step("sandbox", func() (err error) {
			s, err = n.RunSandbox(b.Context(), SandboxSpec{PodUID: newID()[:12], Hostname: "p"})
			return err
		})
		step("create", func() (err error) {
			id, err = n.CreateContainer(b.Context(), s.ID, ContainerSpec{Name: "c", Image: img.ID, Command: []string{"sleep", "1000"},
				LogPath: b.TempDir() + "/0.log"})
			return err
		})
		step("start", func() error { return n.StartContainer(b.Context(), id) })
		steps["all until running"] = append(steps["all until running"], time.Since(begin))
		step("exec", func() error {
			_, err := n.Exec(b.Context(), id, ExecOptions{Command: []string{"true"}})
			return err
		})
		step("kill", func() error { return n.StopContainer(b.Context(), id, 0) })
		step("remove", func() error { return n.RemoveSandbox(b.Context(), s.ID) })
	}
	for name, d := range steps {
		slices.Sort(d)
		b.ReportMetric(float64(d[len(d)/2].Microseconds())/1000, strings.ReplaceAll(name, " ", "-")+"-p50-ms")
	}
}

// BenchmarkShimMemory reports what a pod costs beside its own processes.
func BenchmarkShimMemory(b *testing.B) {
	n := newTestNode(b)
	img := n.pull(busybox(b))
	for b.Loop() {
		s := n.pod(nil)
		n.run(s, img, "sleep 1000", nil)
		time.Sleep(time.Second)
		pid, err := os.ReadFile(n.opts.sandboxDir(s.ID) + "/shim.pid")
		if err != nil {
			b.Fatal(err)
		}
		data, err := os.ReadFile("/proc/" + string(pid) + "/smaps_rollup")
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if strings.HasPrefix(line, "Rss:") || strings.HasPrefix(line, "Pss:") || strings.HasPrefix(line, "Private_Dirty:") {
				b.Log(strings.TrimSpace(line))
			}
		}
	}
}

// BenchmarkContainerOutput is the way of a container's output to the disk, rotation included.
func BenchmarkContainerOutput(b *testing.B) {
	n := newTestNode(b)
	img := n.pull(busybox(b))
	const size = 256 << 20
	b.SetBytes(size)
	b.StopTimer()
	for range b.N {
		id := n.run(n.pod(nil), img, "yes "+strings.Repeat("x", 127)+" | head -c 268435456 > /tmp/f; while ! test -e /tmp/go; do sleep 0.05; done; cat /tmp/f", nil)
		until(b, "the file is written", func() bool {
			out, _ := n.exec(id, "sh", "-c", "busybox stat -c %s /tmp/f")
			return strings.TrimSpace(out) == "268435456"
		})
		n.exec(id, "touch", "/tmp/go")
		b.StartTimer()
		n.end(id)
		b.StopTimer()
	}
}
