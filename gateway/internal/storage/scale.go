package storage

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingv "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"kubus.dev/gateway/internal/resource"
)

var scaleKind = schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}

// scale shows a workload as an autoscaling/v1 Scale and changes its replicas.
type scale struct{ store *Store }

func (s scale) New() runtime.Object { return &autoscaling.Scale{} }
func (s scale) Destroy()            {}

// GroupVersionKind is upstream's rest.GroupVersionKindProvider.
func (s scale) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return scaleKind }

func (s scale) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return scaleOf(obj)
}

func (s scale) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	asScale := func(ctx context.Context, obj, old runtime.Object) error {
		after, err := scaleOf(obj)
		if err != nil {
			return err
		}
		before, err := scaleOf(old)
		if err != nil {
			return err
		}
		return update(ctx, after, before)
	}
	obj, _, err := s.store.Update(ctx, name, &scaling{scale: s, name: name, info: info}, create, asScale, false, options)
	if err != nil {
		return nil, false, err
	}
	out, err := scaleOf(obj)
	return out, false, err
}

// scaled gives pointers into a workload at what a Scale shows.
func scaled(obj runtime.Object) (m *metav1.ObjectMeta, replicas *int32, status int32, selector *metav1.LabelSelector, err error) {
	switch o := obj.(type) {
	case *apps.Deployment:
		return &o.ObjectMeta, &o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector, nil
	case *apps.ReplicaSet:
		return &o.ObjectMeta, &o.Spec.Replicas, o.Status.Replicas, o.Spec.Selector, nil
	}
	return nil, nil, 0, nil, apierrors.NewBadRequest(fmt.Sprintf("%T cannot be scaled", obj))
}

func scaleOf(obj runtime.Object) (*autoscaling.Scale, error) {
	m, replicas, status, labelSelector, err := scaled(obj)
	if err != nil {
		return nil, err
	}
	selector, err := metav1.LabelSelectorAsSelector(labelSelector)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return &autoscaling.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: m.Name, Namespace: m.Namespace, UID: m.UID,
			ResourceVersion: m.ResourceVersion, CreationTimestamp: m.CreationTimestamp,
		},
		Spec:   autoscaling.ScaleSpec{Replicas: *replicas},
		Status: autoscaling.ScaleStatus{Replicas: status, Selector: selector.String()},
	}, nil
}

// scaling turns an update of the Scale into one of the workload, managed fields
// included.
type scaling struct {
	scale scale
	name  string
	info  rest.UpdatedObjectInfo
}

func (u *scaling) Preconditions() *metav1.Preconditions { return u.info.Preconditions() }

func (u *scaling) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj := old.DeepCopyObject()
	m, replicas, _, _, err := scaled(obj)
	if err != nil {
		return nil, err
	}
	kind := u.scale.store.kind
	part := schema.GroupResource{Group: kind.GVR.Group, Resource: kind.GVR.Resource + "/scale"}
	if m.ResourceVersion == "" {
		return nil, apierrors.NewNotFound(part, u.name)
	}
	gv := kind.GVR.GroupVersion()
	paths := managedfields.ResourcePathMappings{gv.String(): fieldpath.MakePathOrDie("spec", "replicas")}
	managed := managedfields.NewScaleHandler(m.ManagedFields, gv, paths)
	before, err := scaleOf(obj)
	if err != nil {
		return nil, err
	}
	if before.ManagedFields, err = managed.ToSubresource(); err != nil {
		return nil, err
	}
	updated, err := u.info.UpdatedObject(ctx, before)
	if err != nil {
		return nil, err
	}
	after, ok := updated.(*autoscaling.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected input object type to be Scale, but %T", updated))
	}
	if errs := autoscalingv.ValidateScaleUpdate(ctx, after, before, resource.Scheme, u.scale); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscaling.Kind("Scale"), u.name, errs)
	}
	if after.UID != "" && after.UID != m.UID {
		return nil, apierrors.NewConflict(part, u.name,
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", after.UID, m.UID))
	}
	*replicas = after.Spec.Replicas
	m.ResourceVersion = after.ResourceVersion
	m.ManagedFields, err = managed.ToParent(after.ManagedFields)
	return obj, err
}
