package api

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/scheduler/internal/planner"
)

// BindAll implements planner.Binder by a bulk that is stored all or none.
func (b *Binder) BindAll(ctx context.Context, bindings []planner.Binding) (planner.Verdict, error) {
	requests := make([]apiclient.Request, len(bindings))
	for i := range bindings {
		requests[i] = bindingRequest(&bindings[i])
	}
	results, err := b.client.Bulk(ctx, apiclient.BulkOptions{Fence: b.fence, Atomic: true}, requests)
	if err != nil {
		return planner.Verdict{}, fmt.Errorf("binding a gang: %w", err)
	}
	var refusal error
	for _, r := range results {
		if r.Err != nil && refusal == nil {
			refusal = r.Err
		}
	}
	if refusal == nil {
		return planner.Verdict{Outcome: planner.Bound}, nil
	}
	return b.found(ctx, bindings, refusal), nil
}

// found looks at the pods of a gang that was not bound just now: an earlier try, whose answer
// was lost, may have bound them.
func (b *Binder) found(ctx context.Context, bindings []planner.Binding, refusal error) planner.Verdict {
	for i := range bindings {
		pod, err := apiclient.Get[corev1.Pod](ctx, b.client, podPath(bindings[i].Pod.Namespace, bindings[i].Pod.Name))
		switch {
		case apierrors.IsNotFound(err):
			return planner.Verdict{Outcome: planner.Refused, Error: refusal.Error()}
		case err != nil:
			return planner.Verdict{Outcome: planner.Unknown, Error: refusal.Error()}
		case standing(pod, bindings[i].Pod.UID, bindings[i].Node, refusal).Outcome != planner.Bound:
			return planner.Verdict{Outcome: planner.Refused, Error: refusal.Error()}
		}
	}
	return planner.Verdict{Outcome: planner.Bound}
}
