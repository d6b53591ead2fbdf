package bootstrap

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// KeepEvery is how often Keep is to look, as often as kube-apiserver looks after the
// Service of the API.
const KeepEvery = 10 * time.Second

// flowTicks is how many ticks go by until Keep looks after flow control: a minute, as
// upstream.
const flowTicks = 6

// Keep makes again what was deleted of what a cluster must have, as kube-apiserver's
// own controllers do: at each tick the system's namespaces and the Service of the API
// with its endpoints, at each sixth the objects of flow control, which it also puts
// right. What fails is tried again at the next. It ends with ctx or ticks.
func Keep(ctx context.Context, o Options, ticks <-chan time.Time) {
	b, flow := &boot{o: o}, flowControl()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-ticks:
			if !ok {
				return
			}
		}
		err := b.restoreAll(ctx, slices.Concat(namespaces(), o.API.objects()))
		if err == nil && n%flowTicks == 0 {
			if err = b.ensureAll(ctx, flow); err == nil {
				err = b.dropDangling(ctx, flow)
			}
		}
		if err != nil && ctx.Err() == nil {
			o.Logger.Warn("keeping the cluster's basic objects; trying again", zap.Error(err))
		}
	}
}

// restoreAll makes what is not there, in order. It corrects nothing: gateways at several
// addresses would take turns.
func (b *boot) restoreAll(ctx context.Context, objects []runtime.Object) error {
	for _, obj := range objects {
		kind := kindOf(obj.GetObjectKind().GroupVersionKind())
		accessor, err := meta.Accessor(obj)
		if err != nil {
			return err
		}
		ctx, store := b.context(ctx, kind, accessor), b.o.Storage.Store(kind)
		if _, err := store.Get(ctx, accessor.GetName(), &metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			if err != nil {
				return err
			}
			continue
		}
		if err := b.create(ctx, store, kind, obj); err != nil {
			return err
		}
		b.o.Logger.Info("made again what was deleted", zap.String("kind", kind.GVK.Kind), zap.String("name", accessor.GetName()))
	}
	return nil
}
