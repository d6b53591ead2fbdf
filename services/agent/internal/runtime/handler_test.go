package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recordingRuntime is an OCI runtime that writes down what it is asked, and does it with runc.
func recordingRuntime(t *testing.T) (program, record string) {
	t.Helper()
	dir := t.TempDir()
	program, record = filepath.Join(dir, "other"), filepath.Join(dir, "calls")
	script := fmt.Sprintf("#!/bin/sh\necho \"$*\" >> %s\nexec %s \"$@\"\n", record, needTool(t, "runc"))
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return program, record
}

func TestAPodRunsWithTheRuntimeOfItsHandler(t *testing.T) {
	n := newTestNode(t)
	program, record := recordingRuntime(t)
	n.Close()
	n.opts.Handlers = map[string]string{"other": program}
	n.open()
	if err := n.SetPodCIDR(t.Context(), fmt.Sprintf("10.%d.%d.0/24", 200+os.Getpid()%40, testCount%250)); err != nil { // as newTestNode
		t.Fatal(err)
	}
	img := n.pull(busybox(t))
	calls := func(command string) int {
		data, _ := os.ReadFile(record)
		count := 0
		for line := range strings.Lines(string(data)) {
			if slices.Contains(strings.Fields(line), command) {
				count++
			}
		}
		return count
	}

	plain := n.run(n.pod(nil), img, "sleep 1000", nil)
	if _, code := n.exec(plain, "true"); code != 0 || calls("run")+calls("exec") != 0 {
		t.Errorf("a pod without a handler was run with another runtime: exit code %d", code)
	}
	s := n.pod(func(s *SandboxSpec) { s.RuntimeHandler = "other" })
	id := n.run(s, img, "sleep 1000", nil)
	if _, code := n.exec(id, "true"); code != 0 || calls("run") != 1 || calls("exec") != 1 {
		t.Errorf("with a handler: exit code %d, %d runs and %d execs by its runtime", code, calls("run"), calls("exec"))
	}
	if err := n.RemoveSandbox(t.Context(), s.ID); err != nil || calls("delete") != 1 {
		t.Errorf("removed: %v, with %d deletes by its runtime", err, calls("delete"))
	}
	if left, err := os.ReadDir(n.opts.runcDir()); err != nil || len(left) != 1 {
		t.Errorf("states of runtimes: %v, %v; one container runs", left, err)
	}
}

func TestAHandlerThatIsNotConfiguredRunsNothing(t *testing.T) {
	n := newTestNode(t)
	_, err := n.RunSandbox(t.Context(), SandboxSpec{PodUID: "u", Namespace: "default", Name: "pod", Hostname: "pod", RuntimeHandler: "unknown"})
	if err == nil || err.Error() != `failed to get sandbox runtime: no runtime for "unknown" is configured` {
		t.Errorf("%v", err)
	}
	if len(n.Sandboxes()) != 0 {
		t.Error("there is a sandbox")
	}
}

func TestHandlersSayWhatTheirRuntimesCan(t *testing.T) {
	n := newTestNode(t)
	n.Close()
	dumb := filepath.Join(t.TempDir(), "dumb")
	if err := os.WriteFile(dumb, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	same, _ := recordingRuntime(t)
	n.opts.Handlers = map[string]string{"dumb": dumb, "same": same}
	n.open()
	if got, want := n.Handlers(), []Handler{{"", true}, {"dumb", false}, {"runc", true}, {"same", true}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	n.Close()
	n.Node = nil
	bad := n.opts
	bad.Handlers = map[string]string{"gone": filepath.Join(t.TempDir(), "gone")}
	if _, err := New(t.Context(), bad); err == nil || !strings.HasPrefix(err.Error(), `runtime handler "gone": `) {
		t.Errorf("a runtime that is not there: %v", err)
	}
}
