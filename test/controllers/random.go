package controllers

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// random makes n sequences: a workload, and what a seed says happens to it.
func random(seed uint64, n int) []*Sequence {
	var out []*Sequence
	for i := range n {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		w := workloads[i%len(workloads)]
		steps := []Step{nodes(w.nodes), do("create", Create(w.resource, w.manifest))}
		for range 6 + r.IntN(5) {
			name, action := w.event(r)
			steps = append(steps, do(name, action))
		}
		propagation := []string{"Background", "Foreground", "Orphan"}[r.IntN(3)]
		steps = append(steps, do("delete "+propagation, Delete(w.resource, w.name, propagation)))
		out = append(out, story("random", fmt.Sprintf("r%dx%d", seed, i), steps...))
	}
	return out
}

type workload struct {
	resource, name, label, manifest string
	nodes                           int
	fields                          []field
}

// field is one of a spec, with values to choose from.
type field struct {
	path   string // a merge patch, with % for the value
	values []string
}

var (
	replicas = field{"{replicas: %}", []string{"0", "1", "2", "3", "5", "8"}}
	template = field{`{template: {metadata: {labels: {v: "%"}}}}`, []string{"1", "2", "3"}}
	behave   = field{`{template: {metadata: {annotations: {play: "%"}}}}`, []string{"run", "run", "unready", "pending"}}
	history  = field{"{revisionHistoryLimit: %}", []string{"0", "1", "10"}}
)

var workloads = []*workload{
	{"deployments", "web", "app=web", web, 3, []field{
		replicas, replicas, template, template, behave, history, {"{paused: %}", []string{"true", "false", "false"}},
		{"{strategy: {rollingUpdate: {maxSurge: %}}}", []string{"1", "2", "50%"}}, {"{strategy: {rollingUpdate: {maxUnavailable: %}}}", []string{"1", "2", "30%"}},
	}},
	{"statefulsets", "db", "app=db", strings.Replace(set, "MORE", "", 1), 3, []field{
		replicas, replicas, template, template, behave, history, {"{updateStrategy: {rollingUpdate: {partition: %}}}", []string{"0", "1", "3"}},
		{"{ordinals: {start: %}}", []string{"0", "2"}},
	}},
	{"statefulsets", "db", "app=db", strings.Replace(set, "MORE", "podManagementPolicy: Parallel", 1), 2, []field{
		replicas, replicas, template, template, behave, history, {"{updateStrategy: {type: %, rollingUpdate: null}}", []string{"OnDelete", "RollingUpdate"}},
	}},
	{"replicasets", "rs", "app=rs", `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: rs}
spec:
  replicas: 3
  selector: {matchLabels: {app: rs}}
  template:
    metadata: {labels: {app: rs}}
    spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "rs:1"}]}
`, 2, []field{replicas, replicas, template, behave}},
	{"daemonsets", "agent", "app=agent", daemon, 1, []field{
		template, template, behave, history, {"{updateStrategy: {type: %, rollingUpdate: null}}", []string{"OnDelete", "RollingUpdate"}},
	}},
	{"daemonsets", "agent", "app=agent", daemon, 4, []field{ // no pod of which stays unready: upstream goes on with any
		template, template, history, {"{updateStrategy: {rollingUpdate: {maxUnavailable: %}}}", []string{"1", "2", "100%"}},
	}},
	{"jobs", "work", "job-name=work", `
apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
  completions: 6
  parallelism: 2
  backoffLimit: 4
  template:
    spec: {restartPolicy: Never, nodeSelector: {of: SELF}, containers: [{name: c, image: work}]}
`, 2, []field{{"{parallelism: %}", []string{"1", "2", "3", "4"}}, {"{suspend: %}", []string{"true", "false", "false"}}}},
	{"jobs", "work", "job-name=work", `
apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
  completions: 5
  parallelism: 3
  completionMode: Indexed
  backoffLimitPerIndex: 1
  template:
    spec: {restartPolicy: Never, nodeSelector: {of: SELF}, containers: [{name: c, image: work}]}
`, 2, []field{{"{parallelism: %}", []string{"4"}}, {"{suspend: %}", []string{"true", "false", "false"}}}},
}

const daemon = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "agent:1"}]}
`

// set is a StatefulSet with room for MORE.
const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  MORE
  template:
    metadata: {labels: {app: db}}
    spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "db:1"}]}
`

// event is something that happens: an edit, or what befalls pods.
func (w *workload) event(r *rand.Rand) (string, Action) {
	n := 1 + r.IntN(3)
	exits := 0
	if w.resource == "jobs" {
		exits = 4 // which is what Jobs are for
	}
	switch k := r.IntN(10 + exits); {
	case k < 6:
		f := w.fields[r.IntN(len(w.fields))]
		patch := strings.ReplaceAll(f.path, "%", f.values[r.IntN(len(f.values))])
		return "edit " + patch, Patch(w.resource, w.name, "spec: "+patch)
	case k == 6:
		return fmt.Sprint(n, " are deleted"), OnPods(w.label, n, Remove)
	case k == 7:
		return fmt.Sprint(n, " fail"), OnPods(w.label, n, Exit(1))
	case k == 8:
		return fmt.Sprint(n, " become unready"), OnPods(w.label, n, Ready(false))
	case k == 9:
		return fmt.Sprint(n, " become ready"), OnPods(w.label, n, Ready(true))
	}
	return fmt.Sprint(n, " succeed"), OnPods(w.label, n, Exit(0))
}
