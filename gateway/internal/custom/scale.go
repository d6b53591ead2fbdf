package custom

import (
	"context"
	"fmt"
	"math"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// scaling shows custom objects of one version as autoscaling/v1 Scales, by the paths
// that the definition names.
type scaling struct {
	main  rest.StandardStorage
	gv    schema.GroupVersion
	paths scalePaths
	// managed says of each version where its replicas are.
	managed managedfields.ResourcePathMappings
}

var (
	_ rest.Patcher                  = (*scaling)(nil)
	_ rest.GroupVersionKindProvider = (*scaling)(nil)
)

// scalePaths are fields of the object, from its root. An empty selector is none.
type scalePaths struct{ replicas, status, selector []string }

func pathsOf(s *apiextensionsv1.CustomResourceSubresourceScale) scalePaths {
	out := scalePaths{replicas: splitPath(s.SpecReplicasPath), status: splitPath(s.StatusReplicasPath)}
	if s.LabelSelectorPath != nil && *s.LabelSelectorPath != "" {
		out.selector = splitPath(*s.LabelSelectorPath)
	}
	return out
}

func splitPath(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// managedPaths tells where each version of the definition has its replicas; nil where
// it cannot be scaled.
func (d *Definition) managedPaths() managedfields.ResourcePathMappings {
	out := managedfields.ResourcePathMappings{}
	for i := range d.crd.Spec.Versions {
		v := &d.crd.Spec.Versions[i]
		var path fieldpath.Path
		if v.Subresources != nil && v.Subresources.Scale != nil {
			for _, name := range splitPath(v.Subresources.Scale.SpecReplicasPath) {
				path = append(path, fieldpath.PathElement{FieldName: &name})
			}
		}
		out[d.gv(v.Name).String()] = path
	}
	return out
}

func (s *scaling) New() runtime.Object { return &autoscalingv1.Scale{} }
func (s *scaling) Destroy()            {}

// GroupVersionKind is upstream's.
func (s *scaling) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return scaleGVK }

func (s *scaling) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.main.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	out, found, err := s.paths.of(obj)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, apierrors.NewInternalError(fmt.Errorf("the spec replicas field %q does not exist", s.replicasName()))
	}
	return out, nil
}

func (s *scaling) replicasName() string { return "." + strings.Join(s.paths.replicas, ".") }

func (s *scaling) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	asScale := func(ctx context.Context, obj, old runtime.Object) error {
		after, _, err := s.paths.of(obj)
		if err != nil {
			return err
		}
		before, _, err := s.paths.of(old)
		if err != nil {
			return err
		}
		return update(ctx, after, before)
	}
	if update == nil {
		asScale = nil
	}
	obj, _, err := s.main.Update(ctx, name, &scaled{scaling: s, info: info}, create, asScale, false, options)
	if err != nil {
		return nil, false, err
	}
	out, _, err := s.paths.of(obj)
	if err != nil {
		return nil, false, apierrors.NewBadRequest(err.Error())
	}
	return out, false, nil
}

// of shows a custom object as a Scale; found says that it names its replicas.
func (p scalePaths) of(obj runtime.Object) (out *autoscalingv1.Scale, found bool, err error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, false, fmt.Errorf("expected an unstructured object, got %T", obj)
	}
	replicas, found, err := unstructured.NestedInt64(u.Object, p.replicas...)
	if err != nil {
		return nil, false, err
	}
	current, _, err := unstructured.NestedInt64(u.Object, p.status...)
	if err != nil {
		return nil, false, err
	}
	selector := ""
	if p.selector != nil {
		if selector, _, err = unstructured.NestedString(u.Object, p.selector...); err != nil {
			return nil, false, err
		}
	}
	return &autoscalingv1.Scale{
		// The type tells converters that it is in the form asked for.
		TypeMeta: metav1.TypeMeta{APIVersion: autoscalingv1.SchemeGroupVersion.String(), Kind: scaleGVK.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: u.GetName(), Namespace: u.GetNamespace(), UID: u.GetUID(),
			ResourceVersion: u.GetResourceVersion(), CreationTimestamp: u.GetCreationTimestamp()},
		Spec:   autoscalingv1.ScaleSpec{Replicas: int32(replicas)},
		Status: autoscalingv1.ScaleStatus{Replicas: int32(current), Selector: selector},
	}, found, nil
}

// scaled turns an update of the Scale into one of the object, managed fields included.
type scaled struct {
	*scaling
	info rest.UpdatedObjectInfo
}

// unset stands for replicas that the object does not name.
const unset = math.MinInt32

func (s *scaled) Preconditions() *metav1.Preconditions { return s.info.Preconditions() }

func (s *scaled) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	u, ok := old.DeepCopyObject().(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("expected an unstructured object, got %T", old)
	}
	managed := managedfields.NewScaleHandler(u.GetManagedFields(), s.gv, s.managed)
	before, found, err := s.paths.of(u)
	if err != nil {
		return nil, err
	}
	if !found {
		before.Spec.Replicas = unset
	}
	if before.ManagedFields, err = managed.ToSubresource(); err != nil {
		return nil, err
	}
	updated, err := s.info.UpdatedObject(ctx, before)
	if err != nil {
		return nil, err
	}
	after, ok := updated.(*autoscalingv1.Scale)
	switch {
	case updated == nil:
		return nil, apierrors.NewBadRequest("nil update passed to Scale")
	case !ok:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("wrong object passed to Scale update: %v", updated))
	case after.Spec.Replicas == unset:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the spec replicas field %q cannot be empty", s.replicasName()))
	}
	if err := unstructured.SetNestedField(u.Object, int64(after.Spec.Replicas), s.paths.replicas...); err != nil {
		return nil, err
	}
	if after.ResourceVersion != "" {
		u.SetResourceVersion(after.ResourceVersion)
	}
	entries, err := managed.ToParent(after.ManagedFields)
	if err != nil {
		return nil, err
	}
	u.SetManagedFields(entries)
	return u, nil
}
