package intake

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDifference(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, old, new, want string }{
		{"nothing", `{"a":1}`, `{"a":1}`, `{}`},
		{"a field comes, one changes, one goes, one stays", `{"b":1,"c":1,"d":1}`, `{"a":1,"b":2,"d":1}`, `{"a":1,"b":2,"c":null}`},
		{"a list is replaced", `{"a":[1,2]}`, `{"a":[2]}`, `{"a":[2]}`},
		{"of an object what differs", `{"a":{"x":1,"y":1,"z":1}}`, `{"a":{"x":2,"z":1}}`, `{"a":{"x":2,"y":null}}`},
		{"an object comes", `{}`, `{"a":{"x":1}}`, `{"a":{"x":1}}`},
		{"an object becomes a list", `{"a":{"x":1}}`, `{"a":[1]}`, `{"a":[1]}`},
		{"an object comes in place of null", `{"a":null}`, `{"a":{"x":1}}`, `{"a":{"x":1}}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			changes, ok := difference(json.RawMessage(c.old), json.RawMessage(c.new))
			got, err := json.Marshal(changes)
			if !ok || err != nil || string(got) != c.want {
				t.Errorf("got %s, want %s: %v", got, c.want, err)
			}
		})
	}
}

// merged applies a merge patch as the API does.
func merged(to, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, _ := to.(map[string]any)
	if out == nil {
		out = map[string]any{}
	}
	for field, value := range changes {
		if value == nil {
			delete(out, field)
			continue
		}
		out[field] = merged(out[field], value)
	}
	return out
}

func object(t *testing.T, of any) (out map[string]any) {
	t.Helper()
	data, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOfAPodOnlyWhatDiffersOfItsStatusIsWritten(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "u", ResourceVersion: "7", Annotations: map[string]string{"long": strings.Repeat("x", 10_000)}},
		Spec:       corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort, Message: "starting", StartTime: &metav1.Time{Time: now},
			Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}},
		},
	}
	next, changed := mergePod(pod.Status, corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
		Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "c", Ready: true}},
	})
	r, err := statusPatch("/api/v1/namespaces/a/pods/p", pod, pod.Status, next)
	if err != nil || !changed || r.Method != "PATCH" || r.Path != "/api/v1/namespaces/a/pods/p/status" || r.ContentType != "application/merge-patch+json" {
		t.Fatalf("got %s %s %s: %v", r.Method, r.Path, r.ContentType, err)
	}
	for _, absent := range []string{"xxx", "spec", "qosClass", "startTime", "namespace"} {
		if strings.Contains(string(r.Body), absent) {
			t.Errorf("%s is sent: %s", absent, r.Body)
		}
	}
	var patch map[string]any
	if err := json.Unmarshal(r.Body, &patch); err != nil {
		t.Fatal(err)
	}
	if m := patch["metadata"].(map[string]any); m["uid"] != "u" || m["resourceVersion"] != "7" {
		t.Errorf("on condition of %v", m)
	}
	got := corev1.Pod{}
	data, _ := json.Marshal(merged(object(t, pod), patch))
	if err := json.Unmarshal(data, &got); err != nil || !equality.Semantic.DeepEqual(got.Status, next) {
		t.Errorf("it makes %+v, want %+v: %v", got.Status, next, err)
	}
}

func TestOfANodeOnlyWhatDiffersOfItsStatusIsWritten(t *testing.T) {
	t.Parallel()
	present := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u", ResourceVersion: "7"}}
	present.Status.Capacity = corev1.ResourceList{"cpu": resource.MustParse("2"), "example.com/gpu": resource.MustParse("1")}
	present.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: "5", MachineID: "m", Swap: &corev1.NodeSwapStatus{}}
	reported := present.DeepCopy()
	reported.Status.Capacity = corev1.ResourceList{"cpu": resource.MustParse("4")}
	reported.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: "6", MachineID: "m"}
	requests, err := nodeUpdates(present, reported, now.Add(time.Minute))
	if err != nil || len(requests) != 1 {
		t.Fatalf("got %v: %v", requests, err)
	}
	want := `{"metadata":{"resourceVersion":"7","uid":"u"},"status":{"capacity":{"cpu":"4"},"nodeInfo":{"kernelVersion":"6","swap":null}}}`
	if r := requests[0]; r.Method != "PATCH" || r.Path != "/api/v1/nodes/n/status" || string(r.Body) != want {
		t.Errorf("got %s %s %s, want %s", r.Method, r.Path, r.Body, want)
	}
}
