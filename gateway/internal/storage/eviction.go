package storage

import (
	"context"
	"fmt"
	"reflect"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/client-go/util/retry"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/policy"
)

var evictionKind = policyv1.SchemeGroupVersion.WithKind("Eviction")

// evictionRetry is how often an eviction starts again when the pod changed under it.
// What it then reads is fresh, so that it need not wait as long as upstream's.
var evictionRetry = wait.Backoff{Steps: 20, Duration: 10 * time.Millisecond, Factor: 1.3, Jitter: 0.1}

// eviction is pods/eviction: a deletion that a PodDisruptionBudget may refuse.
type eviction struct {
	pods    *Store // that writes status
	budgets func() budgets
}

func (e eviction) New() runtime.Object { return &policy.Eviction{} }
func (e eviction) Destroy()            {}

// AcceptsGroupVersion lets clients send either version of Eviction.
func (e eviction) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv.Group == policy.GroupName && (gv.Version == "v1" || gv.Version == "v1beta1")
}

func (e eviction) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	in, ok := obj.(*policy.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Eviction object: %T", obj))
	}
	deletion, err := deletionOf(name, in, options)
	if err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, in.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	pod, gone, err := e.unguarded(ctx, name, deletion)
	if err != nil {
		return nil, err
	}
	if gone {
		return &metav1.Status{Status: metav1.StatusSuccess}, nil
	}
	return e.guarded(ctx, pod, deletion)
}

// deletionOf gives the options of the deletion that an Eviction asks for.
func deletionOf(name string, in *policy.Eviction, options *metav1.CreateOptions) (*metav1.DeleteOptions, error) {
	if name != in.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	deletion := in.DeleteOptions
	if deletion == nil {
		return &metav1.DeleteOptions{DryRun: options.DryRun}, nil
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
	return deletion, nil
}

// unguarded deletes a pod that no budget guards: one that has ended, is being
// deleted, or never ran. Otherwise it gives the pod as it is now.
func (e eviction) unguarded(ctx context.Context, name string, deletion *metav1.DeleteOptions) (pod *api.Pod, gone bool, err error) {
	again := apierrors.IsConflict
	if namesVersion(deletion) {
		again = func(error) bool { return false }
	}
	err = retry.OnError(evictionRetry, again, func() error {
		if pod, err = e.pod(ctx, name); err != nil {
			return err
		}
		if !ignoresBudgets(pod) {
			return nil
		}
		options := deletion
		if !ended(pod) && !namesVersion(deletion) {
			options = atVersion(deletion, pod) // it may become ready, and count, at any moment
		}
		if err := e.delete(ctx, name, options); err != nil {
			return err
		}
		gone = true
		return nil
	})
	return pod, gone, err
}

// guarded deletes the pod if its budget can spare it.
func (e eviction) guarded(ctx context.Context, pod *api.Pod, deletion *metav1.DeleteOptions) (runtime.Object, error) {
	budgets := e.budgets()
	found, err := budgets.of(ctx, pod)
	if err != nil {
		return nil, err
	}
	if len(found) > 1 {
		return &metav1.Status{
			Status:  metav1.StatusFailure,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
			Code:    500,
		}, nil
	}
	spared := false
	options := deletion
	for _, budget := range found {
		if spared = sparesUnready(budget, pod); spared {
			options = atVersion(deletion, pod) // it must not have become ready in the meantime
		} else if err := budgets.take(ctx, budget.Name, pod, dryrun.IsDryRun(deletion.DryRun)); err != nil {
			return nil, err
		}
	}
	if err := e.delete(ctx, pod.Name, options); err != nil {
		if spared && apierrors.IsConflict(err) && !namesVersion(deletion) {
			return nil, beingProcessed(found[0].Name) // the client comes again
		}
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// pod gives the pod as of now on every gateway.
func (e eviction) pod(ctx context.Context, name string) (*api.Pod, error) {
	key, err := e.pods.key(ctx, name)
	if err != nil {
		return nil, err
	}
	entry, err := e.pods.latest(ctx, key)
	if err != nil {
		return nil, apiError(err, api.Resource("pods"), name)
	}
	if entry == nil {
		return nil, apierrors.NewNotFound(api.Resource("pods"), name)
	}
	obj, err := e.pods.decode(entry)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return obj.(*api.Pod), nil
}

// delete says in the pod's status why it goes, then deletes it.
func (e eviction) delete(ctx context.Context, name string, options *metav1.DeleteOptions) error {
	if !dryrun.IsDryRun(options.DryRun) {
		out, _, err := e.pods.Update(ctx, name, targeted(options.Preconditions), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		if namesVersion(options) {
			options = atVersion(options, out.(*api.Pod))
		}
	}
	_, _, err := e.pods.Delete(ctx, name, rest.ValidateAllObjectFunc, options)
	return err
}

// targeted is the update that marks a pod as the target of a disruption.
func targeted(preconditions *metav1.Preconditions) rest.UpdatedObjectInfo {
	return rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
		pod := old.(*api.Pod).DeepCopy()
		if err := fits(preconditions, pod); err != nil {
			return nil, err
		}
		podutil.UpdatePodCondition(&pod.Status, &api.PodCondition{
			Type: api.DisruptionTarget, Status: api.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		})
		return pod, nil
	})
}

// fits holds preconditions against a pod, in upstream's words.
func fits(preconditions *metav1.Preconditions, pod *api.Pod) error {
	if preconditions == nil {
		return nil
	}
	if uid := preconditions.UID; uid != nil && *uid != "" && *uid != pod.UID {
		return apierrors.NewConflict(schema.GroupResource{Resource: "Pod"}, pod.Name,
			fmt.Errorf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *uid, pod.UID))
	}
	if rv := preconditions.ResourceVersion; rv != nil && *rv != "" && *rv != pod.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{Resource: "Pod"}, pod.Name,
			fmt.Errorf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *rv, pod.ResourceVersion))
	}
	return nil
}

// ended says that the pod disrupts nothing any more.
func ended(pod *api.Pod) bool {
	return pod.Status.Phase == api.PodSucceeded || pod.Status.Phase == api.PodFailed || !pod.DeletionTimestamp.IsZero()
}

// ignoresBudgets says that the pod may go whatever its budgets say.
func ignoresBudgets(pod *api.Pod) bool { return ended(pod) || pod.Status.Phase == api.PodPending }

func namesVersion(options *metav1.DeleteOptions) bool {
	return options.Preconditions != nil && options.Preconditions.ResourceVersion != nil
}

// atVersion gives the options with the pod's version as a precondition.
func atVersion(options *metav1.DeleteOptions, pod *api.Pod) *metav1.DeleteOptions {
	options = options.DeepCopy()
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	revision := pod.ResourceVersion
	options.Preconditions.ResourceVersion = &revision
	return options
}
