package differential

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var recordFrom = flag.String("upstream", "", "kubeconfig of kube-apiserver's administrator: record anew what kubectl says of it")

const kubectlRecording = "testdata/kubectl.json.gz"

// kubectl gives what a command prints, or that it fails with.
func kubectl(t *testing.T, kubeconfig, cache, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(*binDir, "kubectl"), append(strings.Fields(command), "--kubeconfig="+kubeconfig, "--cache-dir="+cache)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return err.Error() + "\n" + string(out)
	}
	return string(out)
}

// commands are what kubectl can tell of an API without an object: its versions, its
// resources, and an explanation of every kind with all that is below it.
func commands(resources string) []string {
	out := []string{"api-versions", "api-resources", "api-resources --output=wide --sort-by=name", "api-resources --namespaced=false --verbs=list,watch", "explain nothing", "explain pods.spec.nothing"}
	for _, resource := range strings.Fields(resources) {
		out = append(out, "explain "+resource+" --recursive")
	}
	return append(out, "explain pods", "explain pods.spec.containers.resources --output=plaintext", "explain deployments --output=plaintext-openapiv2",
		"explain horizontalpodautoscalers --api-version=autoscaling/v1 --recursive", "explain events --api-version=events.k8s.io/v1 --recursive")
}

// shared takes out of what kubectl prints the group that is served here alone
// (metrics-group in testdata/known.yaml).
func shared(printed string) string {
	lines := strings.Split(printed, "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ") // a column may be as wide as that group needs
	}
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "metrics.k8s.io/v1beta1") })
	return strings.Join(lines, "\n")
}

// What kubectl says of the gateway's versions, resources and kinds is what it says of
// kube-apiserver's, recorded in testdata.
func TestKubectlExplainsTheAPIAsUpstreams(t *testing.T) {
	if *recordFrom != "" {
		record(t, *recordFrom)
	}
	want := readRecorded(t)
	_, kubeconfig := startGateway(t)
	cache := t.TempDir()
	kubectl(t, kubeconfig, cache, "api-resources") // so that the rest finds discovery in the cache
	var names []string
	for command := range want {
		names = append(names, command)
	}
	slices.Sort(names)
	if len(names) < 70 {
		t.Fatalf("only %d commands are recorded", len(names))
	}
	next := make(chan string)
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			for command := range next {
				if got := shared(kubectl(t, kubeconfig, cache, command)); got != shared(want[command]) {
					t.Errorf("kubectl %s: got\n%s\nwant\n%s", command, got, shared(want[command]))
				}
			}
		})
	}
	for _, command := range names {
		next <- command
	}
	close(next)
	wait.Wait()
}

func record(t *testing.T, kubeconfig string) {
	t.Helper()
	cache, out := t.TempDir(), map[string]string{}
	for _, command := range commands(kubectl(t, kubeconfig, cache, "api-resources --output=name --verbs=get")) {
		out[command] = kubectl(t, kubeconfig, cache, command)
	}
	data, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zip.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kubectlRecording, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readRecorded(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(kubectlRecording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]string
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
