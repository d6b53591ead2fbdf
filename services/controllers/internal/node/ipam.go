package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
)

// Addresses gives each node a range of its own for its pods. There is one worker, so
// no range is given twice.
func Addresses() frame.Definition {
	return frame.Definition{Name: "node-ipam", User: "node-controller", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		whole, err := netip.ParsePrefix(e.Config.PodCIDR)
		if err != nil {
			return nil, fmt.Errorf("podCIDR: %w", err)
		}
		a := &allocator{e.World, frame.Of(e, e.World.Nodes), e.Events, whole.Masked(), e.Config.NodeMaskSize}
		return frame.Keyed(e, a.reconcile, frame.On(e.World.Nodes, a.nodeChanged)), nil
	}}
}

type allocator struct {
	world  *mirror.World
	nodes  frame.Objects[corev1.Node]
	events *event.Recorder
	whole  netip.Prefix
	bits   int
}

func (a *allocator) nodeChanged(old, new *corev1.Node, add func(string)) {
	switch {
	case new != nil && new.Spec.PodCIDR == "":
		add(new.Name)
	case new == nil && old.Spec.PodCIDR != "": // a range is free again
		for _, node := range a.world.Nodes.List("") {
			if node.Spec.PodCIDR == "" {
				add(node.Name)
			}
		}
	}
}

func (a *allocator) reconcile(ctx context.Context, name string) (time.Duration, error) {
	node := a.world.Nodes.Get("", name)
	if node == nil || node.Spec.PodCIDR != "" || node.DeletionTimestamp != nil {
		return 0, nil
	}
	var used []string
	for _, other := range a.world.Nodes.List("") {
		used = append(append(used, other.Spec.PodCIDR), other.Spec.PodCIDRs...)
	}
	free, ok := nextRange(a.whole, a.bits, used)
	if !ok {
		a.events.Normal(object(node), "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", name)
		return 0, errors.Join(queue.ErrDrop, fmt.Errorf("no range of %s is free for node %s", a.whole, name))
	}
	_, err := a.nodes.Patch(ctx, node, map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": free.String(), "podCIDRs": []string{free.String()}},
	}, "")
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("giving node its pod range: %w", err)
	}
	return 0, nil
}

// nextRange is the first range of whole that overlaps none of those in use.
func nextRange(whole netip.Prefix, bits int, used []string) (netip.Prefix, bool) {
	var taken []netip.Prefix
	for _, text := range used {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			taken = append(taken, prefix.Masked())
		}
	}
	candidate := netip.PrefixFrom(whole.Masked().Addr(), bits)
	for whole.Contains(candidate.Addr()) {
		blocker, blocked := overlapping(candidate, taken)
		if !blocked {
			return candidate, true
		}
		if blocker.Bits() > bits { // a part of the candidate: go on behind the candidate
			blocker = candidate
		}
		next, ok := after(blocker)
		if !ok {
			break
		}
		candidate = netip.PrefixFrom(next, bits).Masked()
	}
	return netip.Prefix{}, false
}

func overlapping(candidate netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, prefix := range taken {
		if prefix.Overlaps(candidate) {
			return prefix, true
		}
	}
	return netip.Prefix{}, false
}

// after is the address behind the last one of a prefix.
func after(prefix netip.Prefix) (netip.Addr, bool) {
	bytes := prefix.Masked().Addr().AsSlice()
	for i := prefix.Bits(); i < len(bytes)*8; i++ {
		bytes[i/8] |= 1 << (7 - i%8)
	}
	last, ok := netip.AddrFromSlice(bytes)
	if !ok {
		return netip.Addr{}, false
	}
	next := last.Next()
	return next, next.IsValid()
}
