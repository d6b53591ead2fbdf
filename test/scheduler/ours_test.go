package oracle

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/scheduler/internal/cluster"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/worker"
)

// ours is the scheduler over one cluster.
type ours struct {
	mirror *cluster.Mirror
	worker *worker.Worker
	named  map[string]string // pods' names by UID
	plan   plan.Plan         // the last one
}

func newOurs(t testing.TB, c *Cluster) *ours {
	o := &ours{mirror: cluster.New(), named: map[string]string{}}
	entries := map[proto.GroupResource][]*statelog.Entry{}
	revision := uint64(0)
	add := func(group, resource string, obj metav1.Object) {
		data, err := json.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		revision++
		gr := proto.GroupResource{Group: group, Resource: resource}
		key := proto.Key{GroupResource: gr, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		entries[gr] = append(entries[gr], statelog.NewEntry(key, revision, data, false))
	}
	for _, n := range c.Nodes {
		add("", "nodes", n)
	}
	for _, p := range slices.Concat(c.Pods, c.Asks) {
		add("", "pods", p)
		o.named[string(p.UID)] = p.Name
	}
	for _, n := range c.Namespaces {
		add("", "namespaces", n)
	}
	for _, s := range c.Services {
		add("", "services", s)
	}
	for _, b := range c.Budgets {
		add("policy", "poddisruptionbudgets", b)
	}
	for _, p := range c.Claims {
		add("", "persistentvolumeclaims", p)
	}
	for _, v := range c.Volumes {
		add("", "persistentvolumes", v)
	}
	for _, s := range c.Classes {
		add("storage.k8s.io", "storageclasses", s)
	}
	for _, n := range c.CSINodes {
		add("storage.k8s.io", "csinodes", n)
	}
	for _, d := range c.Drivers {
		add("storage.k8s.io", "csidrivers", d)
	}
	for _, s := range c.Capacities {
		add("storage.k8s.io", "csistoragecapacities", s)
	}
	batch := feed.NewReader(zap.NewNop()).Read(entries)
	o.mirror.Apply(batch)
	o.worker = worker.New(nil, o, worker.Options{Name: "oracle", Logger: zap.NewNop()})
	o.worker.Apply(batch)
	return o
}

// Apply is the planner: it remembers what is proposed and lets none of it happen.
func (o *ours) Apply(_ context.Context, p plan.Plan) (plan.Result, error) {
	o.plan = p
	var r plan.Result
	for _, placement := range p.Placements {
		r.Dropped = append(r.Dropped, placement.UID)
	}
	for _, preemption := range p.Preemptions {
		if preemption.Node == "" { // a nomination is taken back
			continue
		}
		r.Spared = append(r.Spared, preemption.UID)
	}
	return r, nil
}

func (o *ours) ask(t testing.TB, pod *corev1.Pod) answer {
	p := o.mirror.Pod(string(pod.UID))
	if p == nil {
		t.Fatalf("%s is not known", pod.Name)
	}
	a := answer{Reasons: map[string]string{}}
	ask := o.mirror.Ask(p)
	for i := range o.mirror.Slots() {
		n := o.mirror.Node(int32(i))
		if !n.Present {
			continue
		}
		if obstacle := p.Shape.Obstacle(); obstacle != "" {
			a.Reasons[n.Name] = "before any node: " + obstacle
			continue
		}
		r := o.mirror.Explain(&ask, int32(i))
		if len(r.Texts) == 0 {
			a.Feasible = append(a.Feasible, n.Name)
			continue
		}
		code := "Unschedulable: "
		if r.Helpless {
			code = "UnschedulableAndUnresolvable: "
		}
		slices.Sort(r.Texts)
		a.Reasons[n.Name] = code + strings.Join(r.Texts, ", ")
	}
	slices.Sort(a.Feasible)
	return a
}

// work lets the worker decide about one pod: the node, or the message, or whom to take away.
func (o *ours) work(t testing.TB, pod *corev1.Pod) (node string, a answer) {
	o.plan = plan.Plan{}
	owner := ""
	if p := o.mirror.Pod(string(pod.UID)); p != nil && p.Spreads {
		owner = p.Owner
	}
	out := o.worker.Work(t.Context(), &plan.Eval{ID: 1, Owner: owner, Pods: []string{string(pod.UID)}})
	for _, p := range o.plan.Placements {
		node = p.Node
	}
	for _, uid := range out.Failed {
		a.Message = out.Says(uid)
	}
	for _, p := range o.plan.Preemptions {
		if p.Node == "" {
			continue
		}
		a.Node = p.Node
		for _, uid := range p.Victims {
			a.Victims = append(a.Victims, o.named[uid])
		}
	}
	slices.Sort(a.Victims)
	return node, a
}
