package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/policy"

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

var evictionKind = schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}

// eviction is pods/eviction. PodDisruptionBudgets are not served yet, so none
// can stand against it.
type eviction struct{ pods *Store }

func (e eviction) New() runtime.Object { return &policy.Eviction{} }
func (e eviction) Destroy()            {}

// AcceptsGroupVersion lets clients send either version of Eviction.
func (e eviction) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv.Group == "policy" && (gv.Version == "v1" || gv.Version == "v1beta1")
}

func (e eviction) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	in, ok := obj.(*policy.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	}
	if name != in.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	deletion := &metav1.DeleteOptions{}
	if in.DeleteOptions != nil {
		deletion = in.DeleteOptions
	}
	if b := deletion.IgnoreStoreReadErrorWithClusterBreakingPotential; b != nil && *b {
		return nil, apierrors.NewInvalid(evictionKind.GroupKind(), name, field.ErrorList{field.Invalid(
			field.NewPath("deleteOptions").Child("ignoreStoreReadErrorWithClusterBreakingPotential"), true,
			"can not be set for pod eviction, try after removing the option")})
	}
	switch {
	case len(deletion.DryRun) == 0:
		deletion.DryRun = options.DryRun
	case len(options.DryRun) > 0 && !reflect.DeepEqual(options.DryRun, deletion.DryRun):
		return nil, fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", options.DryRun, deletion.DryRun)
	}
	if validate != nil {
		if err := validate(ctx, in.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	if err := e.evict(ctx, name, deletion); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// evict says in the pod's status why it goes, then deletes it.
func (e eviction) evict(ctx context.Context, name string, options *metav1.DeleteOptions) error {
	if !dryrun.IsDryRun(options.DryRun) {
		key, err := e.pods.key(ctx, name)
		if err != nil {
			return err
		}
		out, err := e.pods.write(ctx, change{key: key, preconditions: options.Preconditions, apply: func(existing runtime.Object, _ *statelog.Entry) (runtime.Object, error) {
			pod := existing.(*api.Pod)
			podutil.UpdatePodCondition(&pod.Status, &api.PodCondition{
				Type: api.DisruptionTarget, Status: api.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
			})
			return pod, nil
		}})
		if err != nil {
			return apiError(err, api.Resource("pods"), name)
		}
		if options.Preconditions != nil && options.Preconditions.ResourceVersion != nil {
			options = options.DeepCopy()
			revision := out.(*api.Pod).ResourceVersion
			options.Preconditions.ResourceVersion = &revision
		}
	}
	_, _, err := e.pods.Delete(ctx, name, rest.ValidateAllObjectFunc, options)
	return err
}
