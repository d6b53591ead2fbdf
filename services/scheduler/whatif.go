package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/shape"
	"kubus.dev/services/scheduler/internal/worker"
)

// World is a cluster as JSON objects, by resource: those that Resources names count.
type World map[proto.GroupResource][]json.RawMessage

// Fate is what would become of a pod.
type Fate struct {
	UID string
	// Node is where it would run; with Victims, after these pods (namespace/name) were taken
	// away for it. "" is nowhere: Message says why.
	Node    string
	Victims []string
	Message string
}

// WhatIf decides about pods, which have a UID and no node, as a scheduler with this
// configuration would if they were created in a cluster: the most important first, each seeing
// those before it. Nothing is written.
func WhatIf(ctx context.Context, cfg Config, w World, pods []*corev1.Pod) ([]Fate, error) {
	profiles, err := cfg.profiles()
	if err != nil {
		return nil, err
	}
	q := &question{fates: map[string]*Fate{}}
	entries, err := w.entries()
	if err != nil {
		return nil, err
	}
	if err := entries.add(podResource, podObjects(pods)); err != nil {
		return nil, err
	}
	batch := feed.NewReader(zap.NewNop(), profiles.Profiles...).Read(entries.byResource)
	q.worker = worker.New(nil, q, worker.Options{Name: "what-if", Seed: 1, Logger: zap.NewNop()})
	q.worker.Apply(batch)
	q.read(batch)
	for _, group := range groups(pods) {
		if err := q.ask(ctx, group, profiles.Names()); err != nil {
			return nil, err
		}
	}
	out := make([]Fate, len(pods))
	for i, p := range pods {
		out[i] = *q.fates[string(p.UID)]
	}
	return out, nil
}

var podResource = proto.GroupResource{Resource: "pods"}

// podObjects are pods as the API would have them.
func podObjects(pods []*corev1.Pod) []json.RawMessage {
	out := make([]json.RawMessage, len(pods))
	for i, p := range pods {
		out[i], _ = json.Marshal(p) // of a typed object it cannot fail
	}
	return out
}

// entries is a world as the log would have it.
type entries struct {
	byResource map[proto.GroupResource][]*statelog.Entry
	revision   uint64
}

func (w World) entries() (*entries, error) {
	out := &entries{byResource: map[proto.GroupResource][]*statelog.Entry{}}
	for _, gr := range Resources() {
		if err := out.add(gr, w[gr]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (e *entries) add(gr proto.GroupResource, objects []json.RawMessage) error {
	for _, data := range objects {
		var meta metav1.PartialObjectMetadata
		if err := json.Unmarshal(data, &meta); err != nil {
			return fmt.Errorf("reading an object of %s: %w", gr, err)
		}
		e.revision++
		key := proto.Key{GroupResource: gr, Namespace: meta.Namespace, Name: meta.Name}
		e.byResource[gr] = append(e.byResource[gr], statelog.NewEntry(key, e.revision, data, false))
	}
	return nil
}

// groups parts pods by owner and priority, the most important first.
func groups(pods []*corev1.Pod) [][]*corev1.Pod {
	type key struct {
		owner    string
		priority int32
	}
	var order []key
	by := map[key][]*corev1.Pod{}
	for _, p := range pods {
		k := key{}
		if ref := metav1.GetControllerOf(p); ref != nil {
			k.owner = string(ref.UID)
		}
		if p.Spec.Priority != nil {
			k.priority = *p.Spec.Priority
		}
		if by[k] == nil {
			order = append(order, k)
		}
		by[k] = append(by[k], p)
	}
	slices.SortStableFunc(order, func(a, b key) int { return cmp.Compare(b.priority, a.priority) })
	var out [][]*corev1.Pod
	for _, k := range order {
		for part := range slices.Chunk(by[k], plan.MostPods) {
			out = append(out, part)
		}
	}
	return out
}

// question is a planner that agrees to everything and writes it down.
type question struct {
	worker *worker.Worker
	pods   map[string]*shape.Pod // by UID
	fates  map[string]*Fate
}

func (q *question) read(b feed.Batch) {
	q.pods = map[string]*shape.Pod{}
	for _, c := range b.Changes {
		if c.Pod != nil {
			q.pods[c.Pod.UID] = c.Pod
		}
	}
}

// Apply implements plan.Applier.
func (q *question) Apply(_ context.Context, p plan.Plan) (plan.Result, error) {
	for _, placement := range p.Placements {
		q.fates[placement.UID] = &Fate{UID: placement.UID, Node: placement.Node}
	}
	for _, preemption := range p.Preemptions {
		if preemption.Node == "" {
			continue
		}
		f := &Fate{UID: preemption.UID, Node: preemption.Node}
		for _, uid := range preemption.Victims {
			f.Victims = append(f.Victims, q.pods[uid].String())
		}
		q.fates[preemption.UID] = f
	}
	return plan.Result{}, nil
}

// ask decides about the pods of one owner.
func (q *question) ask(ctx context.Context, pods []*corev1.Pod, schedulers []string) error {
	eval := &plan.Eval{}
	for _, p := range pods {
		uid := string(p.UID)
		known := q.pods[uid]
		switch {
		case known == nil || !known.Pending():
			return fmt.Errorf("pod %s/%s is not one that waits for a node", p.Namespace, p.Name)
		case !slices.Contains(schedulers, known.Shape.SchedulerName):
			q.fates[uid] = &Fate{UID: uid, Message: fmt.Sprintf("no profile is called %q: another scheduler must look after the pod", known.Shape.SchedulerName)}
		case known.Shape.Gated:
			q.fates[uid] = &Fate{UID: uid, Message: "Scheduling is blocked due to non-empty scheduling gates"}
		case known.Shape.Waits():
			q.fates[uid] = &Fate{UID: uid, Node: known.Shape.HoldsAt(), Message: "its claims are being bound"}
		default:
			if known.Spreads {
				eval.Owner = known.Owner
			}
			eval.Pods = append(eval.Pods, uid)
		}
	}
	out := q.worker.Work(ctx, eval)
	if out.Error != "" {
		return fmt.Errorf("deciding: %s", out.Error)
	}
	for _, uid := range out.Failed {
		if q.fates[uid] == nil {
			q.fates[uid] = &Fate{UID: uid}
		}
		q.fates[uid].Message = out.Says(uid)
	}
	for _, uid := range eval.Pods {
		if q.fates[uid] == nil {
			return fmt.Errorf("nothing was decided about %s", q.pods[uid])
		}
	}
	return nil
}
