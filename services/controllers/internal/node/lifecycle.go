// Package node watches over the nodes: whether they live (Lifecycle), which addresses
// their pods get (Addresses), and which pods must leave a tainted node (Eviction).
//
//	heartbeat, Lease or status renewed        silent for the grace
//	  (Ready as reported) <----> (Ready Unknown: taints unreachable NoSchedule, NoExecute)
//	  not-ready taints go at once when Ready        | tolerationSeconds later
//	                                                 pods are deleted
//
// Signs of life are never stored. Whenever we may have missed some, at the start
// and after the bus was away, every node has a full grace again: losing the control
// plane moves nothing. Nor does a silence of all nodes at once.
package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

var nodeKind = corev1.SchemeGroupVersion.WithKind("Node")

// Lifecycle judges nodes by their signs of life.
type Lifecycle struct {
	world        *mirror.World
	writer       *write.Client
	events       *event.Recorder
	logger       *zap.Logger
	queue        *queue.Queue[string]
	grace        time.Duration
	startupGrace time.Duration

	mu        sync.Mutex
	started   time.Time
	seen      map[string]time.Time
	known     map[string]bool // a RegisteredNode event was recorded
	disrupted bool
}

// NewLifecycle returns a controller that hears of changes in world and leases.
func NewLifecycle(world *mirror.World, leases *mirror.Kind[coordinationv1.Lease], writer *write.Client, events *event.Recorder, logger *zap.Logger, grace, startupGrace time.Duration) *Lifecycle {
	l := &Lifecycle{
		world: world, writer: writer, events: events, logger: logger, queue: queue.New[string](),
		grace: grace, startupGrace: startupGrace, started: time.Now(), seen: map[string]time.Time{}, known: map[string]bool{},
	}
	world.Nodes.Handle(l.nodeChanged)
	leases.Handle(func(old, new *coordinationv1.Lease) {
		if old != nil && new != nil && new.Namespace == corev1.NamespaceNodeLease && !old.Spec.RenewTime.Equal(new.Spec.RenewTime) {
			l.Beat(new.Name)
		}
	})
	return l
}

// Run judges until ctx ends.
func (l *Lifecycle) Run(ctx context.Context, workers int) error {
	l.GraceAll()
	l.queue.Run(ctx, workers, l.logger, l.reconcile)
	return nil
}

// Beat notes a sign of life.
func (l *Lifecycle) Beat(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[node] = time.Now()
}

// GraceAll gives every node a full grace from now: signs of life may have been missed.
func (l *Lifecycle) GraceAll() {
	l.mu.Lock()
	l.started = time.Now()
	clear(l.seen)
	l.mu.Unlock()
	for _, node := range l.world.Nodes.List("") {
		l.queue.Add(node.Name)
	}
}

func (l *Lifecycle) nodeChanged(old, new *corev1.Node) {
	switch {
	case new == nil:
		l.mu.Lock()
		delete(l.seen, old.Name)
		delete(l.known, old.Name)
		l.mu.Unlock()
		l.events.Normal(object(old), "RemovingNode", "Node %s event: Removing Node %s from Controller", old.Name, old.Name)
	case old == nil || heartbeat(old) != heartbeat(new): // our own verdict leaves the time of the heartbeat as it is
		l.Beat(new.Name)
	}
	l.judgeDisruption()
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

// judgeDisruption notes whether any node is ready; when that changes all are judged anew.
func (l *Lifecycle) judgeDisruption() {
	nodes := l.world.Nodes.List("")
	disrupted := len(nodes) > 0
	for _, node := range nodes {
		if ready := conditionOf(node.Status.Conditions, corev1.NodeReady); ready != nil && ready.Status == corev1.ConditionTrue {
			disrupted = false
			break
		}
	}
	l.mu.Lock()
	was := l.disrupted
	l.disrupted = disrupted
	l.mu.Unlock()
	switch {
	case was && !disrupted: // the others are likely to be back soon as well
		l.GraceAll()
	case was != disrupted:
		for _, node := range nodes {
			l.queue.Add(node.Name)
		}
	}
}

func (l *Lifecycle) pulse(name string) pulse {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, heard := l.seen[name]
	if !heard {
		last = l.started
	}
	return pulse{Last: last, Disrupted: l.disrupted}
}

func (l *Lifecycle) reconcile(ctx context.Context, name string) (time.Duration, error) {
	node := l.world.Nodes.Get("", name)
	if node == nil {
		return 0, nil
	}
	l.register(node)
	p := l.pulse(name)
	v := decide(node, p, l.grace, l.startupGrace, time.Now())
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
	if v.Retaint || len(v.Labels) > 0 {
		errs = append(errs, l.patch(ctx, name, v))
	}
	if lost(l.world.Nodes.Get("", name)) {
		errs = append(errs, l.markPods(ctx, name))
	}
	return v.Again, errors.Join(errs...)
}

func (l *Lifecycle) register(node *corev1.Node) {
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

func (l *Lifecycle) writeConditions(ctx context.Context, node *corev1.Node, conditions []corev1.NodeCondition) error {
	update := node.DeepCopy()
	update.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}
	update.Status.Conditions = conditions
	request, err := write.Update(write.Path("", "v1", "", "nodes", node.Name, "status"), update)
	if err != nil {
		return err
	}
	return l.send(ctx, request)
}

// patch sets taints and labels, on the condition that the node has not changed
// since it was read; otherwise it is judged again.
func (l *Lifecycle) patch(ctx context.Context, name string, v verdict) error {
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
	request, err := write.Merge(write.Path("", "v1", "", "nodes", name), patch)
	if err != nil {
		return err
	}
	return l.send(ctx, request)
}

func (l *Lifecycle) send(ctx context.Context, request apiclient.Request) error {
	body, err := l.writer.One(ctx, request)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("updating node: %w", err)
	}
	return l.world.Nodes.WaitRevision(ctx, write.Revision(body))
}

// markPods makes the pods of a lost node not ready, so that no Service leads to them.
func (l *Lifecycle) markPods(ctx context.Context, name string) error {
	var requests []apiclient.Request
	var pods []*corev1.Pod
	now := metav1.Now()
	for _, p := range l.world.Pods.ByIndex(mirror.ByNode, name) {
		if !pod.Ready(p) {
			continue
		}
		update := p.DeepCopy()
		update.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
		for i := range update.Status.Conditions {
			if c := &update.Status.Conditions[i]; c.Type == corev1.PodReady {
				c.Status, c.LastTransitionTime = corev1.ConditionFalse, now
			}
		}
		request, err := write.Update(write.Path("", "v1", p.Namespace, "pods", p.Name, "status"), update)
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
		case !apierrors.IsNotFound(result.Err):
			errs = append(errs, fmt.Errorf("marking pod %s not ready: %w", pods[i].Name, result.Err))
		}
	}
	return errors.Join(errs...)
}

func object(node *corev1.Node) event.Object {
	return event.Object{GroupVersionKind: nodeKind, Meta: node}
}
