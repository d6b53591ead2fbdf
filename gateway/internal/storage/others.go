package storage

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/kubernetes/pkg/apis/admissionregistration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/resolver"

	"kubus.dev/gateway/internal/resource"
)

// others are whom strategies of this set ask: its own stores and its table.
func (s *Set) others() resource.Others {
	return resource.Others{
		Authorizer: s.options.Authorizer,
		Namespaces: namespaceGetter{set: s},
		Resolver:   resolver.ResourceResolverFunc(s.resolve),
		Policies:   policyGetter{s},
	}
}

// resolve finds the resource that serves a kind, as upstream does by discovery.
func (s *Set) resolve(gvk schema.GroupVersionKind) (schema.GroupVersionResource, error) {
	gv := gvk.GroupVersion()
	kinds := s.options.Registry.Load().In(gv)
	if len(kinds) == 0 {
		return schema.GroupVersionResource{}, fmt.Errorf("the server could not find the requested resource, GroupVersion %q not found", gv)
	}
	for _, kind := range kinds {
		if kind.GVK.Kind == gvk.Kind {
			return gv.WithResource(kind.GVR.Resource), nil
		}
	}
	return schema.GroupVersionResource{}, &meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
}

// namespaceGetter is a client of which only Get is used (resource.Others).
type namespaceGetter struct {
	clientcorev1.NamespaceInterface
	set *Set
}

func (n namespaceGetter) Get(ctx context.Context, name string, options metav1.GetOptions) (*corev1.Namespace, error) {
	obj, err := n.set.Store(n.set.builtIn(namespacesGVR)).Get(ctx, name, &options)
	if err != nil {
		return nil, err
	}
	out := &corev1.Namespace{}
	if err := resource.Scheme.Convert(obj, out, nil); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return out, nil
}

// policyGetter finds admission policies.
type policyGetter struct{ set *Set }

func (p policyGetter) GetValidatingAdmissionPolicy(ctx context.Context, name string) (*admissionregistration.ValidatingAdmissionPolicy, error) {
	return findPolicy[*admissionregistration.ValidatingAdmissionPolicy](ctx, p.set, "validatingadmissionpolicies", name)
}

func (p policyGetter) GetMutatingAdmissionPolicy(ctx context.Context, name string) (*admissionregistration.MutatingAdmissionPolicy, error) {
	return findPolicy[*admissionregistration.MutatingAdmissionPolicy](ctx, p.set, "mutatingadmissionpolicies", name)
}

func findPolicy[T any](ctx context.Context, set *Set, collection, name string) (T, error) {
	var none T
	kind := set.builtIn(schema.GroupVersionResource{Group: admissionregistration.GroupName, Version: "v1", Resource: collection})
	obj, err := set.Store(kind).Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return none, err
	}
	out, ok := obj.(T)
	if !ok {
		return none, apierrors.NewInternalError(fmt.Errorf("expected %T, got %T", none, obj))
	}
	return out, nil
}
