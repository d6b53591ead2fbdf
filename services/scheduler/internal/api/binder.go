// Package api is the scheduler's edge towards the gateway: bindings for the
// planner, conditions and events for the people.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
	"kubus.dev/services/scheduler/internal/plan"
	"kubus.dev/services/scheduler/internal/planner"
)

// Binder commits bindings as bulks of POST pods/NAME/binding.
type Binder struct {
	client *apiclient.Client
	fence  *message.Fence
}

// NewBinder makes a binder. fence is the epoch under which we are the active
// planner; nil commits unfenced.
func NewBinder(client *apiclient.Client, fence *message.Fence) *Binder {
	return &Binder{client, fence}
}

// Bind implements planner.Binder.
func (b *Binder) Bind(ctx context.Context, bindings []planner.Binding) ([]planner.Verdict, error) {
	var requests []apiclient.Request
	ends := make([]int, len(bindings)) // of each binding's requests
	for i := range bindings {
		if len(bindings[i].Claims) == 0 {
			requests = append(requests, bindingRequest(&bindings[i]))
		}
		for _, c := range bindings[i].Claims {
			request, err := claimRequest(c, bindings[i].Node)
			if err != nil {
				return nil, err
			}
			requests = append(requests, request)
		}
		ends[i] = len(requests)
	}
	results := make([]apiclient.Result, 0, len(requests))
	for part := range slices.Chunk(requests, plan.MostPods) {
		some, err := b.client.Bulk(ctx, apiclient.BulkOptions{Fence: b.fence}, part)
		if err != nil {
			return nil, fmt.Errorf("binding pods: %w", err)
		}
		results = append(results, some...)
	}
	verdicts := make([]planner.Verdict, len(bindings))
	from := 0
	for i := range bindings {
		if own := results[from:ends[i]]; len(bindings[i].Claims) == 0 {
			verdicts[i] = verdict(own[0].Err)
			if apierrors.IsConflict(own[0].Err) {
				verdicts[i] = b.settle(ctx, &bindings[i], own[0].Err)
			}
		} else {
			verdicts[i] = prepared(own)
		}
		from = ends[i]
	}
	return verdicts, nil
}

func bindingRequest(b *planner.Binding) apiclient.Request {
	// Written by hand: the names are DNS labels and need no escaping, and this is
	// the one body the scheduler sends by the thousand.
	body := make([]byte, 0, 256)
	body = append(body, `{"kind":"Binding","apiVersion":"v1","metadata":{"name":"`...)
	body = append(append(body, b.Pod.Name...), `","namespace":"`...)
	body = append(append(body, b.Pod.Namespace...), `","uid":"`...)
	body = append(append(body, b.Pod.UID...), `"},"target":{"kind":"Node","name":"`...)
	body = append(append(body, b.Node...), `"}}`...)
	return apiclient.Request{Method: http.MethodPost, Path: podPath(b.Pod.Namespace, b.Pod.Name) + "/binding", Body: body}
}

func podPath(namespace, name string) string {
	return "/api/v1/namespaces/" + namespace + "/pods/" + name
}

// verdict reads the answer to one binding by its Status. What is neither clear success nor a
// clear end is unknown, and the same binding is asked for again.
func verdict(err error) planner.Verdict {
	var status apierrors.APIStatus
	if err != nil && !errors.As(err, &status) {
		return planner.Verdict{Outcome: planner.Unknown, Error: err.Error()}
	}
	switch {
	case err == nil:
		return planner.Verdict{Outcome: planner.Bound}
	case apierrors.IsNotFound(err), apierrors.IsGone(err):
		return planner.Verdict{Outcome: planner.Gone}
	case apierrors.IsTimeout(err), apierrors.IsConflict(err): // a conflict is looked into, see settle
		return planner.Verdict{Outcome: planner.Unknown, Error: err.Error()}
	}
	// Other 4xx, and 429, say that nothing was done.
	if code := status.Status().Code; code >= 400 && code < 500 && code != http.StatusRequestTimeout {
		return planner.Verdict{Outcome: planner.Refused, Error: err.Error()}
	}
	return planner.Verdict{Outcome: planner.Unknown, Error: err.Error()}
}

// settle looks at the pod of a binding that met a conflict: only its state tells what stands
// against the binding. A pod that was merely written to by somebody else is tried again.
func (b *Binder) settle(ctx context.Context, binding *planner.Binding, conflict error) planner.Verdict {
	pod, err := apiclient.Get[corev1.Pod](ctx, b.client, podPath(binding.Pod.Namespace, binding.Pod.Name))
	switch {
	case apierrors.IsNotFound(err):
		return planner.Verdict{Outcome: planner.Gone}
	case err != nil:
		return planner.Verdict{Outcome: planner.Unknown, Error: conflict.Error()}
	}
	return standing(pod, binding.Pod.UID, binding.Node, conflict)
}

// standing reads from a pod's state what became of its binding to a node.
func standing(pod *corev1.Pod, uid, node string, conflict error) planner.Verdict {
	switch {
	case string(pod.UID) != uid, pod.DeletionTimestamp != nil && pod.Spec.NodeName == "":
		return planner.Verdict{Outcome: planner.Gone}
	case pod.Spec.NodeName == node:
		return planner.Verdict{Outcome: planner.Bound} // by an earlier try of ours
	case pod.Spec.NodeName != "":
		return planner.Verdict{Outcome: planner.Gone}
	case len(pod.Spec.SchedulingGates) > 0:
		return planner.Verdict{Outcome: planner.Refused, Error: conflict.Error()}
	}
	return planner.Verdict{Outcome: planner.Unknown, Error: conflict.Error()}
}

// conditionRequest sets the pod's PodScheduled condition to False.
func conditionRequest(namespace, name, uid string, c corev1.PodCondition) (apiclient.Request, error) {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid},
		"status":   map[string]any{"conditions": []corev1.PodCondition{c}},
	})
	return apiclient.Request{Method: http.MethodPatch, Path: podPath(namespace, name) + "/status", Body: body, ContentType: apiclient.StrategicMergePatch}, err
}
