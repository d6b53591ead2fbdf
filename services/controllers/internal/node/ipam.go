package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
)

// Addresses gives each node a range of its own for its pods, in each family.
//
// What nodes have is known from the mirror; what is being given to one is its own from
// the moment it is chosen, until the mirror shows it or the node is gone. There is one
// worker, so no range is given twice.
func Addresses() frame.Definition {
	return frame.Definition{Name: "node-ipam", User: "node-controller", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		ranges, err := Ranges(e.Config.PodCIDR, e.Config.NodeMaskSize, e.Config.NodeMaskSizeIPv6)
		if err != nil {
			return nil, err
		}
		a := &allocator{world: e.World, nodes: frame.Of(e, e.World.Nodes), events: e.Events, logger: e.Logger, book: newBook(ranges)}
		a.queue = frame.Keyed(e, a.reconcile, frame.On(e.World.Nodes, a.nodeChanged))
		return a.queue, nil
	}}
}

type allocator struct {
	world  *mirror.World
	nodes  frame.Objects[corev1.Node]
	events *event.Recorder
	logger *zap.Logger
	queue  *frame.Queue[string]

	mu   sync.Mutex
	book *book
}

func (a *allocator) nodeChanged(old, new *corev1.Node, add func(string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if new == nil {
		for _, name := range a.book.Forget(old.Name) {
			add(name)
		}
		return
	}
	if len(rangesOf(new)) == 0 {
		add(new.Name)
		return
	}
	foreign, free := a.book.Has(new.Name, rangesOf(new))
	for _, r := range foreign {
		a.logger.Warn("a node has a range that is not the cluster's", zap.String("node", new.Name), zap.Stringer("range", r))
	}
	for _, name := range free {
		add(name)
	}
}

// rangesOf is what a node has; what is no range is passed over.
func rangesOf(node *corev1.Node) (ranges []netip.Prefix) {
	texts := node.Spec.PodCIDRs
	if len(texts) == 0 && node.Spec.PodCIDR != "" {
		texts = []string{node.Spec.PodCIDR}
	}
	for _, text := range texts {
		if r, err := netip.ParsePrefix(text); err == nil {
			ranges = append(ranges, r.Masked())
		}
	}
	return ranges
}

func (a *allocator) reconcile(ctx context.Context, name string) (time.Duration, error) {
	node := a.world.Nodes.Get("", name)
	if node == nil || node.Spec.PodCIDR != "" || node.DeletionTimestamp != nil {
		return 0, nil
	}
	a.mu.Lock()
	given, err := a.book.Give(name)
	first := err != nil && a.book.Wait(name)
	a.mu.Unlock()
	if err != nil {
		if first { // and not each time that a range was free and another node had it
			a.events.Normal(object(node), "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", name)
		}
		return 0, errors.Join(queue.ErrDrop, fmt.Errorf("node %s waits for addresses for its pods: %w", name, err))
	}
	texts := make([]string, len(given))
	for i, r := range given {
		texts[i] = r.String()
	}
	_, err = a.nodes.Patch(ctx, node, map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": texts[0], "podCIDRs": texts},
	}, "")
	if apierrors.IsNotFound(err) {
		a.gone(name)
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("giving node its pod range: %w", err)
	}
	return 0, nil
}

// gone gives back what was chosen for a node after we had heard that it is no more.
func (a *allocator) gone(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.world.Nodes.Get("", name) != nil { // it is there anew, or the news will come
		return
	}
	for _, other := range a.book.Forget(name) {
		a.queue.Add(other)
	}
}
