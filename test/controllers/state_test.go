package controllers

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// seen is the state of objects given as RESOURCE and JSON.
func seen(t *testing.T, pairs ...string) State {
	t.Helper()
	n := newNames()
	objects := map[Key]Object{}
	for i := 0; i < len(pairs); i += 2 {
		var o Object
		if err := json.Unmarshal([]byte(pairs[i+1]), &o); err != nil {
			t.Fatal(err)
		}
		n.meet(pairs[i], o)
		objects[keyOf(pairs[i], o)] = o
	}
	return n.state(objects)
}

func TestWhatTwoClustersCannotShareIsReplaced(t *testing.T) {
	t.Parallel()
	const owner = `{"metadata":{"name":"web","uid":"11111111-1111-4111-8111-111111111111"}}`
	for name, c := range map[string]struct {
		objects []string
		id      string
		want    string
	}{
		"identity and time of an object": {[]string{"configmaps", `{"metadata":{"name":"a","uid":"u","resourceVersion":"7","creationTimestamp":"2026-01-02T03:04:05Z","generation":3,"labels":{"x":"y"}}}`},
			"configmaps a", `{"metadata":{"labels":{"x":"y"}}}`},
		"an owner's uid": {[]string{"deployments", owner, "replicasets", `{"metadata":{"name":"web-1","ownerReferences":[{"name":"web","uid":"11111111-1111-4111-8111-111111111111"}]}}`},
			"replicasets web-1", `{"metadata":{"ownerReferences":[{"name":"web","uid":"uid(web)"}]}}`},
		"a generated name, wherever it is": {[]string{"pods", `{"metadata":{"name":"web-x7k2p","generateName":"web-"}}`, "configmaps", `{"metadata":{"name":"a"},"data":{"of":"pod web-x7k2p"}}`},
			"configmaps a", `{"data":{"of":"pod web-\u003cgenerated\u003e"},"metadata":{}}`},
		"but not the node that an only pod is on": {[]string{"pods", `{"metadata":{"name":"db-0","generateName":"db-"},"spec":{"nodeName":"n1"}}`},
			"pods db-0", `{"metadata":{"generateName":"db-"},"spec":{"nodeName":"n1"}}`},
		"whether a status is of the spec": {[]string{"jobs", `{"metadata":{"name":"a","generation":4},"status":{"observedGeneration":4}}`},
			"jobs a", `{"metadata":{},"status":{"observedGeneration":"current"}}`},
		"the order of conditions": {[]string{"jobs", `{"metadata":{"name":"a"},"status":{"conditions":[{"type":"Z","lastTransitionTime":"2026-01-02T03:04:05Z"},{"type":"A"}]}}`},
			"jobs a", `{"metadata":{},"status":{"conditions":{"A":{"type":"A"},"Z":{"lastTransitionTime":"\u003ctime\u003e","type":"Z"}}}}`},
		"the time in the name of a CronJob's Job": {[]string{"jobs", `{"metadata":{"name":"cron-29731234"}}`}, "jobs cron-<minutes>", `{"metadata":{}}`},
		"the name of a pod that was refused": {[]string{"replicasets", `{"metadata":{"name":"web"},"status":{"message":"pods \"web-x7k2p\" is forbidden: exceeded"}}`},
			"replicasets web", `{"metadata":{},"status":{"message":"pods \"web-\u003cgenerated\u003e\" is forbidden: exceeded"}}`},
	} {
		state := seen(t, c.objects...)
		if got := state[c.id]; len(got) != 1 || encode(got[0]) != c.want {
			t.Errorf("%s: %s is %s, want %s", name, c.id, encode(got), c.want)
		}
	}
}

func TestWhatWasToldIsASetOfTexts(t *testing.T) {
	t.Parallel()
	event := func(name, message string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"s"},"involvedObject":{"kind":"ReplicaSet","name":"web"},"type":"Normal","reason":"SuccessfulCreate","message":%q,"source":{"component":"replicaset-controller"}}`, name, message)
	}
	state := seen(t,
		"pods", `{"metadata":{"name":"web-x7k2p","generateName":"web-"}}`, "pods", `{"metadata":{"name":"web-bbbbb","generateName":"web-"}}`,
		"events", event("a", "Created pod: web-x7k2p"), "events", event("b", "Created pod: web-bbbbb"), "events", event("c", "(combined from similar events): Created pod: web-bbbbb"))
	want := []any{"replicaset-controller Normal SuccessfulCreate: Created pod: web-<generated>"}
	if got := state["events ReplicaSet/web"]; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	pod := func(phase string) any { return Object{"status": Object{"phase": phase}} }
	for name, c := range map[string]struct {
		upstream, kubus State
		want            []string
	}{
		"the same": {State{"pods a": {pod("Running")}}, State{"pods a": {pod("Running")}}, nil},
		"a field":  {State{"pods a": {pod("Running")}}, State{"pods a": {pod("Failed")}}, []string{"pods a .status.phase: Running | Failed"}},
		"of several of one name those that differ": {State{"pods a": {pod("Failed"), pod("Pending")}}, State{"pods a": {pod("Failed"), pod("Running")}},
			[]string{"pods a .status.phase: Pending | Running"}},
		"one more":         {State{"pods a": {pod("Running")}}, State{"pods a": {pod("Running"), pod("Running")}}, []string{"pods a count: 1 | 2"}},
		"one that is not":  {State{}, State{"pods a": {pod("Running")}}, []string{"pods a count: 0 | 1"}},
		"what one told":    {State{"events Pod/a": {"x", "y"}}, State{"events Pod/a": {"y"}}, []string{"events Pod/a told: x | (absent)"}},
		"what nobody told": {State{}, State{"events Pod/a": {"y"}}, []string{"events Pod/a told: (absent) | y"}},
	} {
		var got []string
		for _, d := range Compare(c.upstream, c.kubus) {
			got = append(got, d.Aspect+": "+d.Upstream+" | "+d.Kubus)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
