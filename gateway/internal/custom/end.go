package custom

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// end removes the instances of a definition that is being deleted, then the finalizer
// that holds it. It returns at once; one attempt a definition runs at a time.
func (r *runner) end(ctx context.Context, name string) {
	r.endingMu.Lock()
	defer r.endingMu.Unlock()
	if r.ending[name] {
		return
	}
	r.ending[name] = true
	r.group.Go(func() error {
		defer func() {
			r.endingMu.Lock()
			defer r.endingMu.Unlock()
			delete(r.ending, name)
		}()
		for ctx.Err() == nil {
			// The attempt's own writes are changes as well.
			again := r.o.Log.View(definitions).Changed(definitions)
			done, err := r.attemptEnd(ctx, name)
			if done {
				return nil
			}
			var pause <-chan time.Time
			if err != nil && ctx.Err() == nil {
				r.o.Logger.Warn("the instances of a definition cannot be removed", zap.String("name", name), zap.Error(err))
				again, pause = nil, time.After(retryAfter)
			}
			select {
			case <-again:
			case <-pause:
			case <-ctx.Done():
			}
		}
		return nil
	})
}

// attemptEnd goes through with the end of a definition as it is now. done says that
// there is nothing left to do for it.
func (r *runner) attemptEnd(ctx context.Context, name string) (done bool, _ error) {
	r.Refresh()
	crd, d := r.definition(name)
	if crd == nil || crd.DeletionTimestamp.IsZero() || !apihelpers.CRDHasFinalizer(crd, apiextensionsv1.CustomResourceCleanupFinalizer) {
		return true, nil
	}
	var why apiextensionsv1.CustomResourceDefinitionCondition
	switch {
	case slices.Contains(r.builtIn(crd.Spec.Group), crd.Spec.Names.Plural):
		why = terminating(apiextensionsv1.ConditionFalse, "OverlappingBuiltInResource", "instances overlap with built-in resources in storage")
	case d == nil:
		why = terminating(apiextensionsv1.ConditionFalse, "NeverEstablished", "resource was never established")
	default:
		in := terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
		if !apihelpers.IsCRDConditionEquivalent(&in, apihelpers.FindCRDCondition(crd, apiextensionsv1.Terminating)) {
			progress := crd.DeepCopy()
			apihelpers.SetCRDCondition(progress, in)
			return false, r.patch(ctx, progress, nil) // the change that follows goes on from here
		}
		if err := r.empty(ctx, d); err != nil {
			failed := crd.DeepCopy()
			apihelpers.SetCRDCondition(failed, terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionFailed", fmt.Sprintf("could not issue all deletes: %v", err)))
			return false, errors.Join(err, r.patch(ctx, failed, nil))
		}
		why = terminating(apiextensionsv1.ConditionFalse, "InstanceDeletionCompleted", "removed all instances")
	}
	r.Refresh()
	if crd, _ = r.definition(name); crd == nil {
		return true, nil
	}
	last := crd.DeepCopy()
	apihelpers.SetCRDCondition(last, why)
	apihelpers.CRDRemoveFinalizer(last, apiextensionsv1.CustomResourceCleanupFinalizer)
	return false, r.patch(ctx, last, &last.Finalizers)
}

func terminating(status apiextensionsv1.ConditionStatus, reason, message string) apiextensionsv1.CustomResourceDefinitionCondition {
	return apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Terminating, Status: status, Reason: reason, Message: message}
}

// definition gives a definition as stored, and what is served of it; nil where there
// is none.
func (c *Controller) definition(name string) (*apiextensionsv1.CustomResourceDefinition, *Definition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[name]
	if k == nil {
		return nil, nil
	}
	return k.crd, k.served
}

// empty deletes all instances and returns when none is left. Those that finalizers
// hold, and those that another gateway lets in because it does not know yet, it waits
// for and deletes again.
func (r *runner) empty(ctx context.Context, d *Definition) error {
	stored := d.kind(d.version(d.storage().Version))
	store := r.o.Store(stored)
	gr := stored.GR()
	view := r.o.Log.View(gr)
	ctx = request.WithNamespace(ctx, "")
	for {
		if _, err := r.o.Log.Barrier(ctx, gr); err != nil {
			return err
		}
		changed := view.Changed(gr)
		if view.Snapshot(gr).Len() == 0 {
			return nil
		}
		if unmarked(view, gr) {
			if _, err := store.DeleteCollection(ctx, rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}, nil); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unmarked says that there is an object that nobody has deleted.
func unmarked(view *statelog.View, gr proto.GroupResource) bool {
	found := false
	view.Snapshot(gr).Ascend("", func(e *statelog.Entry) bool {
		found = e.Meta().DeletionTimestamp == ""
		return !found
	})
	return found
}
