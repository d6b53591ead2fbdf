package storage

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"

	"kubus.dev/proto/statelog"
)

// definitions are CustomResourceDefinitions. The first request to delete one only
// marks it, whatever finalizers it has: package custom removes the instances, then
// the finalizer that is added here.
type definitions struct{ *Store }

func (d definitions) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	obj, err := d.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, false, err
	}
	crd, ok := obj.(*apiextensions.CustomResourceDefinition)
	if !ok {
		return nil, false, apierrors.NewInternalError(fmt.Errorf("expected *apiextensions.CustomResourceDefinition, got %T", obj))
	}
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	if options.Preconditions == nil {
		options.Preconditions = &metav1.Preconditions{}
	}
	switch uid, version := options.Preconditions.UID, options.Preconditions.ResourceVersion; {
	case uid != nil && *uid != crd.UID:
		return nil, false, d.refused(name, "UID", string(*uid), string(crd.UID))
	case version != nil && *version != crd.ResourceVersion:
		return nil, false, d.refused(name, "ResourceVersion", *version, crd.ResourceVersion)
	case uid == nil:
		options.Preconditions.UID = &crd.UID
	}
	if !crd.DeletionTimestamp.IsZero() {
		return d.Store.Delete(ctx, name, validate, options)
	}
	out, err := d.write(ctx, change{key: d.kind.Key("", name), preconditions: options.Preconditions, dryRun: dryrun.IsDryRun(options.DryRun),
		apply: func(existing runtime.Object, _ *statelog.Entry) (runtime.Object, error) {
			return d.mark(ctx, existing.(*apiextensions.CustomResourceDefinition), validate)
		}})
	return out, false, apiError(err, d.kind.GroupResource(), name)
}

// refused says that a precondition does not hold, as upstream's storage of definitions
// says it.
func (d definitions) refused(name, what, want, got string) error {
	return apierrors.NewConflict(d.kind.GroupResource(), name, fmt.Errorf("precondition failed: %s in precondition: %v, %s in object meta: %v", what, want, what, got))
}

func (d definitions) mark(ctx context.Context, crd *apiextensions.CustomResourceDefinition, validate rest.ValidateObjectFunc) (runtime.Object, error) {
	if validate != nil {
		if err := validate(ctx, crd); err != nil {
			return nil, err
		}
	}
	if crd.DeletionTimestamp.IsZero() {
		now := metav1.NewTime(d.backend.now())
		crd.DeletionTimestamp = &now
	}
	if !apiextensions.CRDHasFinalizer(crd, apiextensions.CustomResourceCleanupFinalizer) {
		crd.Finalizers = append(crd.Finalizers, apiextensions.CustomResourceCleanupFinalizer)
	}
	apiextensions.SetCRDCondition(crd, apiextensions.CustomResourceDefinitionCondition{
		Type: apiextensions.Terminating, Status: apiextensions.ConditionTrue, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	})
	return crd, nil
}
