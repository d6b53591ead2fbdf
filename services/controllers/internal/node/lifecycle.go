// Package node watches over the nodes: whether they live (Lifecycle), which addresses
// their pods get (Addresses), and which pods must leave a tainted node (Eviction).
//
//	heartbeat, Lease or status renewed        silent for the grace
//	  (Ready as reported) <----> (Ready Unknown: taint unreachable NoSchedule)
//	  taints go at once when Ready                  | its zone lets it through (zone.go)
//	                                        (taint unreachable NoExecute)
//	                                                | tolerationSeconds later
//	                                             pods are deleted
//
// The same for a node that says it is not ready, with the taint not-ready. Signs of
// life are never stored. Whenever we may have missed some, at the start, after the bus
// was away and when it does not answer before a verdict, every node has a full grace
// again: losing the control plane moves nothing. Nor does a silence of all nodes at
// once.
package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/write"
)

var nodeKind = corev1.SchemeGroupVersion.WithKind("Node")

// hearing is how long the bus may take to answer before a node is given up.
const hearing = 2 * time.Second

// Lifecycle judges nodes by their signs of life.
func Lifecycle() frame.Definition {
	return frame.Definition{Name: "node-lifecycle", User: "node-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		l := newLifecycle(e, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, hearing)
			defer cancel()
			return e.Bus.Flush(ctx)
		})
		deaf, err := e.Bus.Hear(proto.HeartbeatSubjects, func(subject string, _ []byte) {
			if name, err := proto.HeartbeatNode(subject); err == nil {
				l.beat(name)
			}
		})
		if err != nil {
			return nil, err
		}
		e.Until(deaf)
		e.Until(e.Bus.OnReconnect(l.graceAll))
		return l, nil
	}}
}

type lifecycle struct {
	world        *mirror.World
	writer       *write.Client
	nodes        frame.Objects[corev1.Node]
	events       *event.Recorder
	logger       *zap.Logger
	queue        *frame.Queue[string]
	grace        time.Duration
	startupGrace time.Duration
	// hears is nil when what was sent to us until now has come: a silence is the node's.
	hears func(ctx context.Context) error

	mu      sync.Mutex
	running bool // before that, what is heard is what there is
	started time.Time
	seen    map[string]time.Time
	known   map[string]bool // a RegisteredNode event was recorded
	zones   *zones
}

func newLifecycle(e *frame.Env, hears func(ctx context.Context) error) *lifecycle {
	l := &lifecycle{
		world: e.World, writer: e.Writer, nodes: frame.Of(e, e.World.Nodes), events: e.Events, logger: e.Logger,
		grace: e.Config.NodeGracePeriod, startupGrace: e.Config.NodeStartGracePeriod, hears: hears,
		started: time.Now(), seen: map[string]time.Time{}, known: map[string]bool{},
		zones: newZones(limits{
			Rate: e.Config.NodeEvictionRate, Secondary: e.Config.SecondaryNodeEvictionRate,
			Unhealthy: e.Config.UnhealthyZoneThreshold, Large: e.Config.LargeClusterSizeThreshold,
		}),
	}
	l.queue = frame.Keyed(e, l.reconcile, frame.Reads[string](e.World.Pods))
	e.Until(e.World.Nodes.Handle(l.nodeChanged))
	e.Until(e.World.Leases.Handle(l.leaseChanged))
	return l
}

// Run implements frame.Loop. What was heard before it is not counted on: every node
// has a full grace from now.
func (l *lifecycle) Run(ctx context.Context, workers int) error {
	l.mu.Lock()
	l.running = true
	l.mu.Unlock()
	l.graceAll()
	return l.queue.Run(ctx, workers)
}

func (l *lifecycle) leaseChanged(old, new *coordinationv1.Lease) {
	if old != nil && new != nil && new.Namespace == corev1.NamespaceNodeLease && !old.Spec.RenewTime.Equal(new.Spec.RenewTime) {
		l.beat(new.Name)
	}
}

// beat notes a sign of life.
func (l *lifecycle) beat(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[node] = time.Now()
}

// graceAll gives every node a full grace from now: signs of life may have been missed.
func (l *lifecycle) graceAll() {
	l.mu.Lock()
	l.started = time.Now()
	clear(l.seen)
	l.mu.Unlock()
	l.lookAtAll()
}

func (l *lifecycle) lookAtAll() {
	for _, node := range l.world.Nodes.List("") {
		l.queue.Add(node.Name)
	}
}

func (l *lifecycle) nodeChanged(old, new *corev1.Node) {
	switch {
	case new == nil:
		l.mu.Lock()
		delete(l.seen, old.Name)
		delete(l.known, old.Name)
		l.mu.Unlock()
		l.events.Normal(object(old), "RemovingNode", "Node %s event: Removing Node %s from Controller", old.Name, old.Name)
	case old == nil || heartbeat(old) != heartbeat(new): // our own verdict leaves the time of the heartbeat as it is
		l.beat(new.Name)
	}
	l.zone(old, new)
	if new != nil {
		l.queue.Add(new.Name)
	}
}

func heartbeat(node *corev1.Node) int64 {
	if ready := conditionOf(node.Status.Conditions, corev1.NodeReady); ready != nil {
		return ready.LastHeartbeatTime.Unix()
	}
	return 0
}

// zone tells a node's zone of its change, and does what follows for others.
func (l *lifecycle) zone(old, new *corev1.Node) {
	l.mu.Lock()
	var t turn
	if new != nil {
		t = l.zones.Note(new.Name, memberOf(new), time.Now())
	} else {
		t = l.zones.Gone(old.Name, time.Now())
	}
	running := l.running
	l.mu.Unlock()
	if !running { // all are looked at when it does
		return
	}
	if t.New {
		l.logger.Info("a zone of nodes is in a new state", zap.String("zone", zoneName(t.Zone)), zap.Stringer("state", t.State))
	}
	switch {
	case t.Halt:
		l.logger.Warn("no node is ready: no pod is evicted")
		l.lookAtAll()
	case t.Resume: // the others are likely to be back soon as well
		l.logger.Info("a node is ready again: pods may be evicted, every node has a full grace")
		l.graceAll()
	}
	for _, name := range t.Wake {
		l.queue.Add(name)
	}
}

// zoneName is region/zone; nodes without labels are in the zone "".
func zoneName(key string) string { return strings.Replace(key, ":\x00:", "/", 1) }

func (l *lifecycle) pulse(name string) pulse {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, heard := l.seen[name]
	if !heard {
		last = l.started
	}
	return pulse{Last: last, Halted: l.zones.halted}
}

func (l *lifecycle) reconcile(ctx context.Context, name string) (time.Duration, error) {
	node := l.world.Nodes.Get("", name)
	if node == nil {
		return 0, nil
	}
	l.register(node)
	p := l.pulse(name)
	v := decide(node, p, l.grace, l.startupGrace, time.Now())
	if v.Conditions != nil {
		if err := l.hears(ctx); err != nil {
			l.logger.Warn("the bus does not answer: every node has a full grace", zap.String("node", name), zap.Error(err))
			l.graceAll()
			return 0, nil
		}
		p = l.pulse(name) // it may have been heard by now
		v = decide(node, p, l.grace, l.startupGrace, time.Now())
	}
	if v.Conditions != nil {
		l.logger.Warn("nothing heard of node", zap.String("node", name), zap.Duration("duration", time.Since(p.Last)))
		if err := l.writeConditions(ctx, node, v.Conditions); err != nil {
			return 0, err
		}
	}
	if v.Lost {
		l.events.Normal(object(node), "NodeNotReady", "Node %s status is now: NodeNotReady", name)
	}
	var errs []error
	l.admit(name, &v)
	if v.Retaint || len(v.Labels) > 0 {
		errs = append(errs, l.patch(ctx, name, v))
	}
	if lost(l.world.Nodes.Get("", name)) {
		errs = append(errs, l.markPods(ctx, name))
	}
	return v.Again, errors.Join(errs...)
}

// admit asks the node's zone whether its pods may be evicted by now.
func (l *lifecycle) admit(name string, v *verdict) {
	l.mu.Lock()
	var woken []string
	if v.Evict == nil {
		woken = l.zones.Leave(name, l.zones.nodes[name].Zone)
	} else if ok, wait := l.zones.Admit(name, time.Now()); ok {
		v.Taints, v.Retaint = append(v.Taints, *v.Evict), true
	} else if wait > 0 && (v.Again == 0 || wait < v.Again) {
		v.Again = wait
	}
	l.mu.Unlock()
	for _, other := range woken {
		l.queue.Add(other)
	}
}

func (l *lifecycle) register(node *corev1.Node) {
	l.mu.Lock()
	known := l.known[node.Name]
	l.known[node.Name] = true
	l.mu.Unlock()
	if !known {
		l.events.Normal(object(node), "RegisteredNode", "Node %s event: Registered Node %s in Controller", node.Name, node.Name)
	}
}

// lost is true of a node whose conditions this controller has made Unknown.
func lost(node *corev1.Node) bool {
	if node == nil {
		return false
	}
	ready := conditionOf(node.Status.Conditions, corev1.NodeReady)
	return ready != nil && ready.Status == corev1.ConditionUnknown && ready.Reason == "NodeStatusUnknown"
}

func (l *lifecycle) writeConditions(ctx context.Context, node *corev1.Node, conditions []corev1.NodeCondition) error {
	update := node.DeepCopy()
	update.Status.Conditions = conditions
	_, err := l.nodes.UpdateStatus(ctx, update)
	return updating(err)
}

// updating says what failed; a node that is gone needs no update.
func updating(err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("updating node: %w", err)
}

// patch sets taints and labels, on the condition that the node has not changed
// since it was read; otherwise it is judged again.
func (l *lifecycle) patch(ctx context.Context, name string, v verdict) error {
	node := l.world.Nodes.Get("", name)
	if node == nil {
		return nil
	}
	metadata := map[string]any{"resourceVersion": node.ResourceVersion}
	if len(v.Labels) > 0 {
		metadata["labels"] = v.Labels
	}
	patch := map[string]any{"metadata": metadata}
	if v.Retaint {
		patch["spec"] = map[string]any{"taints": v.Taints}
	}
	_, err := l.nodes.Patch(ctx, node, patch, "")
	return updating(err)
}

// markPods makes the pods of a lost node not ready, so that no Service leads to them.
func (l *lifecycle) markPods(ctx context.Context, name string) error {
	var requests []apiclient.Request
	var pods []*corev1.Pod
	for _, p := range l.world.Pods.ByIndex(mirror.ByNode, name) {
		if !pod.Ready(p) {
			continue
		}
		request, err := write.Strategic(l.world.Pods.Path(p.Namespace, p.Name, "status"), notReady(p, metav1.Now()))
		if err != nil {
			return err
		}
		requests, pods = append(requests, request), append(pods, p)
	}
	results, err := l.writer.Do(ctx, requests...)
	if err != nil {
		return fmt.Errorf("marking pods not ready: %w", err)
	}
	var errs []error
	for i, result := range results {
		switch {
		case result.Err == nil:
			l.events.Warning(event.Object{GroupVersionKind: podKind, Meta: pods[i]}, "NodeNotReady", "Node is not ready")
		case !apierrors.IsNotFound(result.Err) && !apierrors.IsInvalid(result.Err): // gone, or another by now
			errs = append(errs, fmt.Errorf("marking pod %s not ready: %w", pods[i].Name, result.Err))
		}
	}
	return errors.Join(errs...)
}

// notReady is a patch of a pod's status, for the pod as it is known. The mirror's pods
// are not whole, so nothing else of theirs may be written.
func notReady(p *corev1.Pod, now metav1.Time) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"uid": p.UID, "resourceVersion": p.ResourceVersion},
		"status": map[string]any{"conditions": []map[string]any{
			{"type": corev1.PodReady, "status": corev1.ConditionFalse, "lastTransitionTime": now},
		}},
	}
}

func object(node *corev1.Node) event.Object {
	return event.Object{GroupVersionKind: nodeKind, Meta: node}
}
