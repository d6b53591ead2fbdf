// Package podgc deletes the pods that nobody else will: those bound to a node that
// does not exist, terminating ones without a node or on one that is out of service,
// and finished ones beyond a number.
//
//	pod on a missing node --40 s--> still missing, by the API's own word --> Failed, deleted
//	                        |
//	                        node is back: as if nothing had been
//
// What is to go is decided in plan.go. Nothing polls: a look is due when a pod or a
// node changed, and once at the end of a quarantine. A quarantine begins anew with
// each start of this process.
package podgc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/write"
)

// quarantine is how long a node must be missing before its pods go, as upstream's.
const quarantine = 40 * time.Second

// place is what is looked at in one go: a node's pods, one pod without a node, or,
// the zero place, all finished pods.
type place struct {
	Node string
	Pod  types.NamespacedName
}

// Controller deletes what is left of pods.
func Controller() frame.Definition {
	return frame.Definition{Name: "podgc", User: "pod-garbage-collector", Make: func(e *frame.Env) (frame.Loop, error) {
		c := &collector{
			world: e.World, writer: e.Writer, logger: e.Logger, threshold: e.Config.TerminatedPodThreshold,
			missing: map[string]time.Time{},
		}
		return frame.Keyed(e, c.reconcile,
			frame.Reads[place](e.World.Pods),
			frame.On(e.World.Nodes, c.nodeChanged),
			frame.On(e.World.Pods, c.podChanged)), nil
	}}
}

type collector struct {
	world     *mirror.World
	writer    *write.Client
	logger    *zap.Logger
	threshold int // finished pods that are kept; zero: all

	mu       sync.Mutex
	missing  map[string]time.Time // since when nodes that pods name are not there
	finished int                  // pods
}

func (c *collector) nodeChanged(old, new *corev1.Node, add func(place)) {
	switch {
	case new == nil:
		if len(c.world.Pods.ByIndex(mirror.ByNode, old.Name)) > 0 {
			add(place{Node: old.Name})
		}
		return
	case old == nil:
		c.forget(new.Name)
	}
	if outOfService(new) && (old == nil || !outOfService(old)) {
		add(place{Node: new.Name})
	}
}

func (c *collector) podChanged(old, new *corev1.Pod, add func(place)) {
	if c.count(old, new) {
		add(place{})
	}
	if new == nil {
		return
	}
	terminating := new.DeletionTimestamp != nil
	if new.Spec.NodeName == "" {
		if terminating {
			add(place{Pod: frame.KeyOf(new)})
		}
		return
	}
	node := c.world.Nodes.Get("", new.Spec.NodeName)
	if node == nil || terminating && outOfService(node) {
		add(place{Node: new.Spec.NodeName})
	}
}

// count keeps the number of finished pods and tells whether it grew too large.
func (c *collector) count(old, new *corev1.Pod) bool {
	was, is := old != nil && pod.Terminal(old), new != nil && pod.Terminal(new)
	if was == is {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if was {
		c.finished--
		return false
	}
	c.finished++
	return c.threshold > 0 && c.finished > c.threshold
}

func (c *collector) reconcile(ctx context.Context, at place) (time.Duration, error) {
	switch {
	case at.Node != "":
		return c.node(ctx, at.Node)
	case at.Pod.Name != "":
		return 0, c.apply(ctx, planUnscheduled(c.world.Pods.Get(at.Pod.Namespace, at.Pod.Name)), "bound to no node and terminating")
	}
	return 0, c.apply(ctx, planTerminated(c.world.Pods.List(""), c.threshold), "more finished pods than are kept")
}

func (c *collector) node(ctx context.Context, name string) (time.Duration, error) {
	pods := c.world.Pods.ByIndex(mirror.ByNode, name)
	node, missing := c.look(name, len(pods) > 0)
	removals, again := planNode(node, missing, quarantine, pods)
	if len(removals) == 0 {
		return again, nil
	}
	why := "terminating on a node that is out of service"
	if node == nil {
		why = "bound to a node that does not exist"
		exists, err := c.exists(ctx, name)
		if err != nil || exists { // if it exists, its news will come
			return 0, err
		}
	}
	return again, c.apply(ctx, removals, why)
}

// look gives a node, or since how long pods name it while it is missing. The time
// starts with the first look and ends when the node comes or its last pod goes.
func (c *collector) look(name string, named bool) (node *corev1.Node, missing time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	node = c.world.Nodes.Get("", name)
	since, known := c.missing[name]
	switch {
	case node != nil, !named:
		delete(c.missing, name)
		return node, 0
	case !known:
		since = time.Now()
		c.missing[name] = since
	}
	return nil, time.Since(since)
}

func (c *collector) forget(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.missing, node)
}

// exists asks the API itself: what we have seen may be old.
func (c *collector) exists(ctx context.Context, node string) (bool, error) {
	_, err := c.writer.Read(ctx, write.Path("", "v1", "", "nodes", node))
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("asking for node %s: %w", node, err)
	}
	return true, nil
}

// apply marks, then deletes, all at a time, and waits until the mirror shows it.
// A pod that could not be marked is not deleted.
func (c *collector) apply(ctx context.Context, removals []removal, why string) error {
	if len(removals) == 0 {
		return nil
	}
	marked, failed := c.each(ctx, removals, func(r removal) bool { return r.Mark }, mark, pod.Terminal)
	deleted, refused := c.each(ctx, marked, func(r removal) bool { return r.Delete }, remove, told)
	if n := len(deleted); n > 0 {
		c.logger.Info("pods deleted", zap.String("why", why), zap.Int("pods", n), zap.String("first", deleted[0].Pod.Namespace+"/"+deleted[0].Pod.Name))
	}
	return errors.Join(failed, refused)
}

// each makes one kind of write for those removals that need it, waits until the
// mirror shows what it does, and gives the removals to go on with.
func (c *collector) each(ctx context.Context, removals []removal, needed func(removal) bool, build func(removal) (apiclient.Request, error), shows func(*corev1.Pod) bool) (done []removal, err error) {
	var requests []apiclient.Request
	var asked []removal
	for _, r := range removals {
		if !needed(r) {
			done = append(done, r)
			continue
		}
		request, err := build(r)
		if err != nil {
			return nil, err
		}
		requests, asked = append(requests, request), append(asked, r)
	}
	results, err := c.writer.Do(ctx, requests...)
	if err != nil {
		return nil, fmt.Errorf("removing pods: %w", err)
	}
	var errs []error
	for i, result := range results {
		p := asked[i].Pod
		switch {
		case apierrors.IsNotFound(result.Err):
		case result.Err != nil:
			errs = append(errs, fmt.Errorf("removing pod %s/%s: %w", p.Namespace, p.Name, result.Err))
		default:
			done = append(done, asked[i])
			errs = append(errs, c.world.Pods.WaitFor(ctx, p.Namespace, p.Name, func(now *corev1.Pod) bool {
				return now == nil || now.UID != p.UID || shows(now)
			}))
		}
	}
	return done, errors.Join(errs...)
}

// mark writes that a pod has failed.
func mark(r removal) (apiclient.Request, error) {
	status := map[string]any{"phase": corev1.PodFailed, "observedGeneration": r.Pod.Generation}
	if r.Condition != nil {
		condition := *r.Condition
		condition.LastTransitionTime = metav1.Now()
		status["conditions"] = []corev1.PodCondition{condition}
	}
	path := write.Path("", "v1", r.Pod.Namespace, "pods", r.Pod.Name, "status")
	return write.Strategic(path, map[string]any{"metadata": map[string]any{"uid": r.Pod.UID}, "status": status})
}

// remove deletes a pod at once.
func remove(r removal) (apiclient.Request, error) {
	var now int64
	path := write.Path("", "v1", r.Pod.Namespace, "pods", r.Pod.Name)
	return write.Delete(path, &metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: write.OnlyUID(r.Pod.UID)})
}
