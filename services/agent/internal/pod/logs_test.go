package pod

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func touch(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, f := range files {
		path := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestLogsOfAttemptsLongOverAreRemoved(t *testing.T) {
	b := newBench(t, newFakeRuntime(), t.TempDir())
	pod := testPod("a", corev1.RestartPolicyAlways, "sleep")
	dir := filepath.Join(b.m.d.Node.podLogDir(pod), "c")
	touch(t, dir, "2.log", "2.log.20260501-120000.000000", "3.log", "3.log.20260501-120000.000000", "10.log", "readme")
	b.m.Update(pod)
	b.until(pod, "running", running)
	if got, want := namesIn(t, dir), []string{"10.log", "readme"}; !slices.Equal(got, want) { // the next is the 11th
		t.Errorf("left are %q, want %q", got, want)
	}
}

func TestLogsOfPodsThatAreGoneAreRemoved(t *testing.T) {
	b := newBench(t, newFakeRuntime(), t.TempDir())
	pod := testPod("a", corev1.RestartPolicyAlways, "sleep")
	b.m.Update(pod)
	b.until(pod, "running", running)
	logs := b.m.d.Node.LogDir
	touch(t, logs, "ns_b_uid-b/c/0.log", "notes/0.log")
	b.m.OrphanLogs()
	if got, want := namesIn(t, logs), []string{"notes", "ns_a_uid-a"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}

func TestImagesOfAllPodsOnTheNodeAreNamed(t *testing.T) {
	rt := newFakeRuntime()
	b := newBench(t, rt, t.TempDir())
	pod := testPod("a", corev1.RestartPolicyAlways, "sleep")
	pod.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "first", Command: []string{"exit", "0"}}}
	b.m.Update(pod)
	if got, want := b.m.Images(), []string{"first", "img"}; !slices.Equal(got, want) {
		t.Errorf("before anything was made: %q, want %q", got, want)
	}
	b.m.Remove(pod)
	b.stop()
	b.m.Wait()
	if got := b.m.Images(); len(got) != 0 {
		t.Errorf("of no pods: %q", got)
	}
}
