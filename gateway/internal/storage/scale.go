package storage

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/apps"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	autoscalingv "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"kubus.dev/gateway/internal/resource"
)

var scaleKind = schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}

// scale shows a workload as an autoscaling/v1 Scale and changes its replicas.
type scale struct {
	store *Store
	of    scalable
}

// scalable gives what a Scale shows of a workload, and where it changes it.
type scalable func(obj runtime.Object) (shown scaled, err error)

// scaled points into a workload.
type scaled struct {
	meta     *metav1.ObjectMeta
	replicas *int32
	observed int32 // replicas in the status
	selector labels.Selector
}

// scalables are upstream's, by collection.
var scalables = map[schema.GroupResource]scalable{
	core.Resource("replicationcontrollers"): func(obj runtime.Object) (scaled, error) {
		rc, ok := obj.(*core.ReplicationController)
		if !ok {
			return scaled{}, unscalable(obj)
		}
		if rc.Spec.Replicas == nil { // defaulted in every stored one
			rc.Spec.Replicas = new(int32)
		}
		return scaled{&rc.ObjectMeta, rc.Spec.Replicas, rc.Status.Replicas, labels.SelectorFromSet(rc.Spec.Selector)}, nil
	},
	apps.Resource("replicasets"): func(obj runtime.Object) (scaled, error) {
		rs, ok := obj.(*apps.ReplicaSet)
		if !ok {
			return scaled{}, unscalable(obj)
		}
		return scaledBy(&rs.ObjectMeta, &rs.Spec.Replicas, rs.Status.Replicas, rs.Spec.Selector)
	},
	apps.Resource("deployments"): func(obj runtime.Object) (scaled, error) {
		d, ok := obj.(*apps.Deployment)
		if !ok {
			return scaled{}, unscalable(obj)
		}
		return scaledBy(&d.ObjectMeta, &d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector)
	},
	apps.Resource("statefulsets"): func(obj runtime.Object) (scaled, error) {
		set, ok := obj.(*apps.StatefulSet)
		if !ok {
			return scaled{}, unscalable(obj)
		}
		return scaledBy(&set.ObjectMeta, &set.Spec.Replicas, set.Status.Replicas, set.Spec.Selector)
	},
}

func unscalable(obj runtime.Object) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%T cannot be scaled", obj))
}

func scaledBy(m *metav1.ObjectMeta, replicas *int32, observed int32, by *metav1.LabelSelector) (scaled, error) {
	selector, err := metav1.LabelSelectorAsSelector(by)
	if err != nil {
		return scaled{}, apierrors.NewBadRequest(err.Error())
	}
	return scaled{m, replicas, observed, selector}, nil
}

func (s scale) New() runtime.Object { return &autoscaling.Scale{} }
func (s scale) Destroy()            {}

// GroupVersionKind is upstream's rest.GroupVersionKindProvider.
func (s scale) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind { return scaleKind }

func (s scale) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return s.scaleOf(obj)
}

func (s scale) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	asScale := func(ctx context.Context, obj, old runtime.Object) error {
		after, err := s.scaleOf(obj)
		if err != nil {
			return err
		}
		before, err := s.scaleOf(old)
		if err != nil {
			return err
		}
		return update(ctx, after, before)
	}
	obj, _, err := s.store.Update(ctx, name, &scaling{scale: s, name: name, info: info}, create, asScale, false, options)
	if err != nil {
		return nil, false, err
	}
	out, err := s.scaleOf(obj)
	return out, false, err
}

func (s scale) scaleOf(obj runtime.Object) (*autoscaling.Scale, error) {
	shown, err := s.of(obj)
	if err != nil {
		return nil, err
	}
	m := shown.meta
	return &autoscaling.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: m.Name, Namespace: m.Namespace, UID: m.UID,
			ResourceVersion: m.ResourceVersion, CreationTimestamp: m.CreationTimestamp,
		},
		Spec:   autoscaling.ScaleSpec{Replicas: *shown.replicas},
		Status: autoscaling.ScaleStatus{Replicas: shown.observed, Selector: shown.selector.String()},
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
	shown, err := u.scale.of(obj)
	if err != nil {
		return nil, err
	}
	m := shown.meta
	kind := u.scale.store.kind
	part := schema.GroupResource{Group: kind.GVR.Group, Resource: kind.GVR.Resource + "/scale"}
	if m.ResourceVersion == "" {
		return nil, apierrors.NewNotFound(part, u.name)
	}
	gv := kind.GVR.GroupVersion()
	paths := managedfields.ResourcePathMappings{gv.String(): fieldpath.MakePathOrDie("spec", "replicas")}
	managed := managedfields.NewScaleHandler(m.ManagedFields, gv, paths)
	before, err := u.scale.scaleOf(obj)
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
	*shown.replicas = after.Spec.Replicas
	m.ResourceVersion = after.ResourceVersion
	m.ManagedFields, err = managed.ToParent(after.ManagedFields)
	return obj, err
}
