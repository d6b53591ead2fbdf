// Package daemonset runs one pod on every node that a DaemonSet is for. decide is the
// whole of it, a pure function with upstream's semantics; the controller fetches,
// writes and records.
//
//	 node for the set, without a pod                          available
//	(wanted) -------------------------> (pinned, scheduled) ------------> (running)
//	   ^                                       | failed                       |
//	   |  gone; after a failure with back-off  v                              | outdated, duplicate,
//	   +------------------------------------ (going) <------------------------+ node not for the set
//
// A rolling update deletes outdated pods and lets the first edge replace them, or
// where the set surges makes the new pod beside the old one and deletes that when
// the new one is available.
//
// Promises: a node has one working pod of a set, or two while it surges; no more than
// maxUnavailable nodes are without an available pod, nor more than maxSurge with two,
// through an update's doing. A reconcile is one step, in one request for all nodes.
package daemonset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/claim"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/history"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/podcontrol"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// Controller reconciles DaemonSets.
func Controller() frame.Definition {
	return frame.Definition{
		Name: "daemonset", User: "daemon-set-controller", Component: "daemonset-controller",
		Make: func(e *frame.Env) (frame.Loop, error) {
			c := newController(e)
			return frame.Keyed(e, c.reconcile,
				frame.On(e.World.DaemonSets, frame.Self[appsv1.DaemonSet]),
				frame.Owned(e.World.Pods, e.World.DaemonSets, selectorOf),
				frame.OwnedLater(e.World.ControllerRevisions, e.World.DaemonSets, selectorOf),
				frame.On(e.World.Nodes, c.nodeChanged),
			), nil
		},
	}
}

type controller struct {
	world    *mirror.World
	sets     frame.Objects[appsv1.DaemonSet]
	pods     frame.Objects[corev1.Pod]
	control  *podcontrol.Control
	history  *history.Store
	writer   *write.Client
	events   *event.Recorder
	failures backoffs
}

func newController(e *frame.Env) *controller {
	return &controller{
		world: e.World, sets: frame.Of(e, e.World.DaemonSets), pods: frame.Of(e, e.World.Pods),
		control: podcontrol.New(e), history: history.New(e), writer: e.Writer, events: e.Events,
	}
}

func selectorOf(set *appsv1.DaemonSet) (labels.Selector, error) {
	return claim.Selector(set.Spec.Selector)
}

// nodeChanged wakes all sets when a node comes, goes or becomes another in the eyes
// of a placement.
func (c *controller) nodeChanged(old, new *corev1.Node, add func(types.NamespacedName)) {
	if old != nil && new != nil && equality.Semantic.DeepEqual(old.Labels, new.Labels) && equality.Semantic.DeepEqual(old.Spec.Taints, new.Spec.Taints) {
		return
	}
	for _, set := range c.world.DaemonSets.List("") {
		add(frame.KeyOf(set))
	}
}

func (c *controller) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	set := c.world.DaemonSets.Get(key.Namespace, key.Name)
	if set == nil {
		return 0, nil
	}
	if equality.Semantic.DeepEqual(set.Spec.Selector, &metav1.LabelSelector{}) {
		c.events.Warning(object(set), "SelectingAll", "This daemon set is selecting all pods. A non-empty selector is required.")
		return 0, nil
	}
	if set.DeletionTimestamp != nil { // its revisions may be gone already
		return 0, nil
	}
	selector, err := selectorOf(set)
	if err != nil {
		return 0, errors.Join(queue.ErrDrop, fmt.Errorf("daemon set %s: %w", key, err))
	}
	owner := claim.Owner{Object: set, Kind: kind, Path: c.world.DaemonSets.Path(set.Namespace, set.Name), Selector: selector}
	pods, err := claim.Settle(ctx, c.writer, owner, c.world.Pods, claim.Of(owner, c.candidates(set)))
	if err != nil {
		return 0, err
	}
	line, err := c.revisions(ctx, owner, pods)
	if err != nil {
		return 0, fmt.Errorf("failed to construct revisions of DaemonSet: %w", err)
	}
	now := time.Now()
	world := observed{Set: set, Hash: line.Current.Labels[hashLabel], Nodes: c.world.Nodes.List(""), Pods: pods, Wait: c.waits(set, now)}
	next := decide(world, now)
	written := c.apply(ctx, set, world.Hash, next, now)
	if errors.As(written, new(*mirror.Behind)) { // nothing can be told from the mirror
		return 0, written
	}
	world.Pods = claim.Of(owner, c.candidates(set)).Owned // as the mirror shows them by now
	now = time.Now()
	if err := errors.Join(written, c.report(ctx, set, status(world, now))); err != nil {
		return 0, err
	}
	if err := c.history.Delete(ctx, line.superfluous(set, world.Pods)); err != nil {
		return 0, fmt.Errorf("failed to clean up revisions of DaemonSet: %w", err)
	}
	return sooner(next.Again, pod.NextAvailable(world.Pods, set.Spec.MinReadySeconds, now)), nil
}

// sooner is the shorter of two waits, of which zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// candidates are the pods of the set and those of nobody in its namespace.
func (c *controller) candidates(set *appsv1.DaemonSet) []*corev1.Pod {
	return append(c.world.Pods.ByIndex(mirror.ByController, string(set.UID)), c.world.Pods.ByIndex(mirror.ByOrphanage, set.Namespace)...)
}

// revisions brings the set's history up to date with its template.
func (c *controller) revisions(ctx context.Context, owner claim.Owner, pods []*corev1.Pod) (lineage, error) {
	set := owner.Object.(*appsv1.DaemonSet)
	all, err := c.history.Claim(ctx, owner, true)
	if err != nil {
		return lineage{}, err
	}
	line, err := trace(set, all)
	if err != nil {
		return lineage{}, err
	}
	if line.Create {
		created, collision, err := c.history.Create(ctx, line.Current)
		if collision {
			return lineage{}, c.collide(ctx, set, line.Current.Name)
		}
		if err != nil {
			return lineage{}, err
		}
		line.Current = created
	}
	if err := c.relabel(ctx, line.mislabelled(pods), line.Current.Labels[hashLabel]); err != nil {
		return lineage{}, err
	}
	for _, r := range line.Update {
		if _, err := c.history.Update(ctx, r); err != nil {
			return lineage{}, err
		}
	}
	return line, c.history.Delete(ctx, line.Duplicates)
}

// collide counts a collision of hashes, so that the next try has another name. A set
// that has changed meanwhile refuses the count.
func (c *controller) collide(ctx context.Context, set *appsv1.DaemonSet, name string) error {
	changed := set.DeepCopy()
	if changed.Status.CollisionCount == nil {
		changed.Status.CollisionCount = new(int32)
	}
	*changed.Status.CollisionCount++
	_, err := c.sets.UpdateStatus(ctx, changed)
	return errors.Join(fmt.Errorf("another template's revision is named %s", name), err)
}

func (c *controller) relabel(ctx context.Context, pods []*corev1.Pod, hash string) error {
	changes := make([]frame.Change[corev1.Pod], len(pods))
	for i, p := range pods {
		changes[i] = frame.Patching(p, map[string]any{"metadata": map[string]any{"uid": p.UID, "labels": map[string]any{hashLabel: hash}}}, "")
	}
	errs, late := c.pods.Do(ctx, changes...)
	return errors.Join(errors.Join(errs...), late)
}

func (c *controller) waits(set *appsv1.DaemonSet, now time.Time) func(string) time.Duration {
	return func(node string) time.Duration { return c.failures.wait(failing(set, node), now) }
}

func failing(set *appsv1.DaemonSet, node string) place {
	return place{set.UID, set.Status.ObservedGeneration, node}
}

// apply writes a plan and returns once the mirror shows it.
func (c *controller) apply(ctx context.Context, set *appsv1.DaemonSet, hash string, next plan, now time.Time) error {
	for _, n := range next.Events {
		if n.Warning {
			c.events.Warning(object(set), n.Reason, "%s", n.Message)
		} else {
			c.events.Normal(object(set), n.Reason, "%s", n.Message)
		}
	}
	for _, node := range next.Failed {
		c.failures.failed(failing(set, node), now)
	}
	created, late := c.control.Create(ctx, object(set), newPods(set, hash, next.Create))
	if late != nil {
		return late
	}
	for i := range created {
		if apierrors.HasStatusCause(created[i], corev1.NamespaceTerminatingCause) { // no pod can be made there any more
			created[i] = nil
		}
	}
	deleted, late := c.control.Delete(ctx, object(set), next.Delete)
	return errors.Join(errors.Join(created...), errors.Join(deleted...), late)
}

// newPods are the pods for the nodes, pinned to them.
func newPods(set *appsv1.DaemonSet, hash string, nodes []string) []*corev1.Pod {
	out := make([]*corev1.Pod, len(nodes))
	for i, node := range nodes {
		p := podcontrol.FromTemplate(set, kind, &set.Spec.Template)
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		if generation, ok := templateGeneration(set); ok {
			p.Labels[extensionsv1beta1.DaemonSetTemplateGenerationKey] = generation
		}
		p.Labels[hashLabel] = hash
		p.Spec.Tolerations = tolerations(&p.Spec)
		pin(p, node)
		out[i] = p
	}
	return out
}

// report writes the status when it differs.
func (c *controller) report(ctx context.Context, set *appsv1.DaemonSet, next appsv1.DaemonSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, next) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = next
	if _, err := c.sets.UpdateStatus(ctx, changed); err != nil {
		return fmt.Errorf("error storing status for daemon set: %w", err)
	}
	return nil
}

func object(set *appsv1.DaemonSet) event.Object {
	return event.Object{GroupVersionKind: kind, Meta: set}
}
