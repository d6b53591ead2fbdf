package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"

	"kubus.dev/proto/statelog"
)

// binding is pods/binding: it puts a pod on a node, once.
type binding struct{ pods *Store }

func (b binding) New() runtime.Object { return &api.Binding{} }
func (b binding) Destroy()            {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps UID and
// resourceVersion of the request: they are preconditions.
func (b binding) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

func (b binding) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	in, ok := obj.(*api.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %#v", obj))
	}
	if name != in.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validation.ValidatePodBinding(in); len(errs) != 0 {
		return nil, errs.ToAggregate()
	}
	if validate != nil {
		if err := validate(ctx, in.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	key, err := b.pods.key(ctx, name)
	if err != nil {
		return nil, err
	}
	c := change{key: key, dryRun: dryrun.IsDryRun(options.DryRun), apply: func(existing runtime.Object, _ *statelog.Entry) (runtime.Object, error) {
		return assign(existing.(*api.Pod), in)
	}}
	if in.UID != "" || in.ResourceVersion != "" {
		c.preconditions = &metav1.Preconditions{}
		if in.UID != "" {
			c.preconditions.UID = &in.UID
		}
		if in.ResourceVersion != "" {
			c.preconditions.ResourceVersion = &in.ResourceVersion
		}
	}
	if _, err := b.pods.write(ctx, c); err != nil {
		err = apiError(err, api.Resource("pods"), name)
		if status := apierrors.APIStatus(nil); !errors.As(err, &status) {
			err = apierrors.NewConflict(api.Resource("pods/binding"), name, err)
		}
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// assign puts the pod on the binding's node, or says why it cannot be.
func assign(pod *api.Pod, in *api.Binding) (*api.Pod, error) {
	switch {
	case pod.DeletionTimestamp != nil:
		return nil, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return nil, fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) != 0:
		return nil, fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = in.Target.Name
	pod.Status.NominatedNodeName = ""
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	maps.Copy(pod.Annotations, in.Annotations)
	podutil.DropInitContainerAnnotations(pod.Annotations)
	if len(in.Labels) > 0 && pod.Labels == nil {
		pod.Labels = make(map[string]string)
	}
	maps.Copy(pod.Labels, in.Labels)
	podutil.UpdatePodCondition(&pod.Status, &api.PodCondition{Type: api.PodScheduled, Status: api.ConditionTrue})
	return pod, nil
}

// legacyBinding is POST to the collection of bindings: pods/binding with the pod's
// name in the object alone.
type legacyBinding struct{ pods func() binding }

func (l legacyBinding) New() runtime.Object     { return &api.Binding{} }
func (l legacyBinding) Destroy()                {}
func (l legacyBinding) NamespaceScoped() bool   { return true }
func (l legacyBinding) GetSingularName() string { return "binding" }

func (l legacyBinding) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	metadata, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	return l.pods().Create(ctx, metadata.GetName(), obj, validate, options)
}
