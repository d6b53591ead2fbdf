package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// settling is how long an event waits for older ones of other kinds.
const settling = 2 * time.Second

// event is one change of an object of any kind.
type event struct {
	revision uint64
	seen     time.Time
	object   runtime.Object
	gone     bool
}

// Follow feeds the checker with what happens in a cluster until ctx ends. All kinds are of one
// log, so their resourceVersions are one order. An error says that something was missed: then
// the check says nothing.
func (c *Checker) Follow(ctx context.Context, client kubernetes.Interface) error {
	events := make(chan event, 1000)
	failed := make(chan error, 4)
	for _, start := range []func(context.Context, kubernetes.Interface) (watch.Interface, error){
		watchOf(func(ctx context.Context, k kubernetes.Interface, o metav1.ListOptions) (watch.Interface, error) {
			return k.CoreV1().Namespaces().Watch(ctx, o)
		}),
		watchOf(func(ctx context.Context, k kubernetes.Interface, o metav1.ListOptions) (watch.Interface, error) {
			return k.CoreV1().PersistentVolumeClaims("").Watch(ctx, o)
		}),
		watchOf(func(ctx context.Context, k kubernetes.Interface, o metav1.ListOptions) (watch.Interface, error) {
			return k.CoreV1().Nodes().Watch(ctx, o)
		}),
		watchOf(func(ctx context.Context, k kubernetes.Interface, o metav1.ListOptions) (watch.Interface, error) {
			return k.CoreV1().Pods("").Watch(ctx, o)
		}),
	} {
		w, err := start(ctx, client)
		if err != nil {
			return err
		}
		go func() { failed <- forward(ctx, w, events) }() // ends with ctx, or with its watch
	}
	return c.take(ctx, events, failed)
}

func watchOf(open func(context.Context, kubernetes.Interface, metav1.ListOptions) (watch.Interface, error)) func(context.Context, kubernetes.Interface) (watch.Interface, error) {
	return func(ctx context.Context, k kubernetes.Interface) (watch.Interface, error) {
		forever := int64(24 * 3600)
		return open(ctx, k, metav1.ListOptions{TimeoutSeconds: &forever}) // without a version: what is there, then changes
	}
}

func forward(ctx context.Context, w watch.Interface, to chan<- event) error {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, open := <-w.ResultChan():
			if !open || e.Type == watch.Error {
				return fmt.Errorf("a watch ended: %v", e.Object)
			}
			meta, ok := e.Object.(metav1.Object)
			if !ok || e.Type == watch.Bookmark {
				continue
			}
			revision, err := strconv.ParseUint(meta.GetResourceVersion(), 10, 64)
			if err != nil {
				return err
			}
			select {
			case to <- event{revision, time.Now(), e.Object, e.Type == watch.Deleted}:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// take puts events into order and hands them on when no older one is to be expected.
func (c *Checker) take(ctx context.Context, events <-chan event, failed <-chan error) error {
	var held []event
	flush := func(before time.Time) {
		slices.SortStableFunc(held, func(a, b event) int { return cmp.Compare(a.revision, b.revision) })
		n := 0
		for n < len(held) && held[n].seen.Before(before) {
			c.event(held[n])
			n++
		}
		held = slices.Delete(held, 0, n)
	}
	tick := time.NewTicker(settling / 4)
	defer tick.Stop()
	for {
		select {
		case e := <-events:
			held = append(held, e)
		case <-tick.C:
			flush(time.Now().Add(-settling))
		case err := <-failed:
			if err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			flush(time.Now().Add(time.Hour))
			return nil
		}
	}
}

func (c *Checker) event(e event) {
	switch o := e.object.(type) {
	case *corev1.Pod:
		c.Pod(o, e.gone)
	case *corev1.Node:
		c.Node(o, e.gone)
	case *corev1.Namespace:
		c.Namespace(o, e.gone)
	case *corev1.PersistentVolumeClaim:
		c.Claim(o, e.gone)
	}
}
