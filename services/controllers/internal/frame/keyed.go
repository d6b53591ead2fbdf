package frame

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
)

// Queue is the usual Loop: keys, reconciled one by one.
type Queue[K comparable] struct {
	*queue.Queue[K]
	reconcile queue.Reconciler[K]
	logger    *zap.Logger

	mu     sync.Mutex
	behind map[K]*mirror.Behind
}

// Trigger says which changes wake which keys. It subscribes and returns how to stop.
type Trigger[K comparable] func(add func(K)) (stop func())

// Keyed returns a queue whose keys are woken by the triggers, while the term lasts.
func Keyed[K comparable](e *Env, reconcile queue.Reconciler[K], triggers ...Trigger[K]) *Queue[K] {
	q := &Queue[K]{Queue: queue.New[K](e.Name), reconcile: reconcile, logger: e.Logger, behind: map[K]*mirror.Behind{}}
	e.Until(All(triggers...)(q.Add))
	return q
}

// Run implements Loop.
func (q *Queue[K]) Run(ctx context.Context, workers int) error {
	q.Queue.Run(ctx, workers, q.logger, q.look)
	return nil
}

// look reconciles a key, but not before the mirrors show what it wrote the last time.
func (q *Queue[K]) look(ctx context.Context, key K) (time.Duration, error) {
	q.mu.Lock()
	late := q.behind[key]
	q.mu.Unlock()
	if late != nil {
		if !late.Caught() {
			return 0, late
		}
		q.mu.Lock()
		delete(q.behind, key)
		q.mu.Unlock()
	}
	again, err := q.reconcile(ctx, key)
	if errors.As(err, &late) {
		q.mu.Lock()
		q.behind[key] = late
		q.mu.Unlock()
	}
	return again, err
}

// On has wake called for each change of a kind, at first for all that is there:
// (nil, new), (old, new) or (old, nil). wake names the keys to look at.
func On[T any, K comparable](kind *mirror.Kind[T], wake func(old, new *T, add func(K))) Trigger[K] {
	return func(add func(K)) func() {
		return kind.Handle(func(old, new *T) { wake(old, new, add) })
	}
}

// All is several triggers as one.
func All[K comparable](triggers ...Trigger[K]) Trigger[K] {
	return func(add func(K)) func() {
		stops := make([]func(), len(triggers))
		for i, trigger := range triggers {
			stops[i] = trigger(add)
		}
		return func() {
			for _, stop := range stops {
				stop()
			}
		}
	}
}

// Reads follows kinds whose changes wake nobody.
func Reads[K comparable](kinds ...mirror.Follower) Trigger[K] {
	return func(func(K)) func() {
		for _, kind := range kinds {
			kind.Follow()
		}
		return func() {}
	}
}

// Self wakes the object that changed.
func Self[T any](old, new *T, add func(types.NamespacedName)) {
	if new == nil {
		new = old
	}
	add(KeyOf(any(new).(metav1.Object)))
}

// KeyOf is an object's key.
func KeyOf(object metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
}
