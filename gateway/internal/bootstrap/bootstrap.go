package bootstrap

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/storage"
)

// Options describe the cluster.
type Options struct {
	Storage *storage.Set
	API     APIService
	// ServiceCIDRs are the ranges of Services' addresses, one of each family at most,
	// such as 10.96.0.0/16.
	ServiceCIDRs []string
	// Authentication is the data of the ConfigMap by which extension API servers learn
	// whom to believe: client-ca-file and the requestheader keys.
	Authentication map[string]string
	User           user.Info // who the writes are by
	Logger         *zap.Logger
}

// Run makes what is missing.
func Run(ctx context.Context, o Options) error {
	b := &boot{o: o}
	rbac, err := policies()
	if err != nil {
		return err
	}
	// Namespaces first: the rest lives in them.
	flow := flowControl()
	for _, step := range [][]runtime.Object{namespaces(), slices.Concat(rbac, priorities(), b.authentication(), tracking(time.Now()), registrations(), storageClasses(), flow, b.serviceCIDR()), o.API.objects()} {
		if err := b.ensureAll(ctx, step); err != nil {
			return err
		}
	}
	if err := b.dropDangling(ctx, flow); err != nil {
		return err
	}
	if err := b.readyCIDR(ctx); err != nil {
		return err
	}
	if n := b.written.Load(); n > 0 {
		o.Logger.Info("made the cluster's basic objects", zap.Int64("objects", n))
	}
	return nil
}

type boot struct {
	o       Options
	written atomic.Int64
}

func (b *boot) ensureAll(ctx context.Context, objects []runtime.Object) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, obj := range objects {
		group.Go(func() error { return b.ensure(ctx, obj) })
	}
	return group.Wait()
}

// ensure creates the object, or corrects one that is there. obj is of a versioned
// type with its kind set.
func (b *boot) ensure(ctx context.Context, obj runtime.Object) error {
	gvk := obj.GetObjectKind().GroupVersionKind()
	kind := kindOf(gvk)
	if kind == nil {
		return fmt.Errorf("bootstrap: %v is not served", gvk)
	}
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	ctx = b.context(ctx, kind, accessor)
	store := b.o.Storage.Store(kind)
	live, err := store.Get(ctx, accessor.GetName(), &metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		err = b.create(ctx, store, kind, obj)
	case err == nil:
		err = b.correct(ctx, store, live, obj)
	}
	if err != nil {
		return fmt.Errorf("bootstrap: %s %s/%s: %w", gvk.Kind, accessor.GetNamespace(), accessor.GetName(), err)
	}
	return nil
}

func (b *boot) create(ctx context.Context, store *storage.Store, kind *resource.Kind, obj runtime.Object) error {
	internal, err := internalOf(kind, obj)
	if err != nil {
		return err
	}
	_, err = store.Create(ctx, internal, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if err == nil {
		b.written.Add(1)
		return nil
	}
	if apierrors.IsAlreadyExists(err) || b.there(ctx, store, obj) {
		return nil // another gateway was faster
	}
	return err
}

// there tells whether an object exists that could not be created: what it claims, such as an
// address, may have been its own already.
func (b *boot) there(ctx context.Context, store *storage.Store, obj runtime.Object) bool {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return false
	}
	_, err = store.Get(ctx, accessor.GetName(), &metav1.GetOptions{})
	return err == nil
}

// correct brings back what a live object must have and has lost.
func (b *boot) correct(ctx context.Context, store *storage.Store, live, obj runtime.Object) error {
	fixed, changed, err := corrected(live, obj)
	if err != nil || !changed {
		return err
	}
	accessor, err := meta.Accessor(live)
	if err != nil {
		return err
	}
	_, _, err = store.Update(ctx, accessor.GetName(), rest.DefaultUpdatedObjectInfo(fixed),
		rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return nil // somebody is at it; the next start looks again
	}
	if err == nil {
		b.written.Add(1)
	}
	return err
}

// context is that of a request which would make the object.
func (b *boot) context(ctx context.Context, kind *resource.Kind, accessor metav1.Object) context.Context {
	ctx = request.WithUser(ctx, b.o.User)
	ctx = request.WithNamespace(ctx, accessor.GetNamespace())
	return request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true, Verb: "create", APIGroup: kind.GVR.Group, APIVersion: kind.GVR.Version,
		Resource: kind.GVR.Resource, Namespace: accessor.GetNamespace(), Name: accessor.GetName(),
	})
}

// kindOf finds the built-in kind that is served as gvk.
func kindOf(gvk schema.GroupVersionKind) *resource.Kind {
	for _, kind := range resource.BuiltIn() {
		if kind.GVK.Kind == gvk.Kind && slices.Contains(kind.Served, gvk.GroupVersion()) {
			return kind
		}
	}
	return nil
}

// internalOf defaults and converts a versioned object.
func internalOf(kind *resource.Kind, obj runtime.Object) (runtime.Object, error) {
	obj = obj.DeepCopyObject()
	resource.Scheme.Default(obj)
	internal := kind.New()
	if err := resource.Scheme.Convert(obj, internal, nil); err != nil {
		return nil, fmt.Errorf("converting %s: %w", kind.GVK.Kind, err)
	}
	return internal, nil
}
