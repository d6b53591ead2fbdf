// Package api is the scheduler's edge towards the gateway: bindings for the
// planner, conditions and events for the people.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
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
			verdicts[i] = verdict(own[0].Err, bindings[i].Node)
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

// verdict reads the answer to one binding. What is neither clear success nor a
// clear end is unknown, and the same binding is asked for again.
func verdict(err error, node string) planner.Verdict {
	switch {
	case err == nil:
		return planner.Verdict{Outcome: planner.Bound}
	case apierrors.IsConflict(err):
		return conflict(err, node)
	case apierrors.IsNotFound(err), apierrors.IsGone(err):
		return planner.Verdict{Outcome: planner.Gone}
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsUnauthorized(err):
		return planner.Verdict{Outcome: planner.Refused, Error: err.Error()}
	}
	return planner.Verdict{Outcome: planner.Unknown}
}

// conflict tells by upstream's sentences what stands against a binding. A pod that
// was merely written to by somebody else is tried again.
func conflict(err error, node string) planner.Verdict {
	says := func(text string) bool { return strings.Contains(err.Error(), text) }
	switch {
	case says(fmt.Sprintf("already assigned to node %q", node)):
		return planner.Verdict{Outcome: planner.Bound} // by an earlier try of ours
	case says("already assigned to node"), says("is being deleted"), says("Precondition failed"):
		return planner.Verdict{Outcome: planner.Gone}
	case says(statelog.ErrFenced.Error()), says("schedulingGates"):
		return planner.Verdict{Outcome: planner.Refused, Error: err.Error()}
	}
	return planner.Verdict{Outcome: planner.Unknown}
}

// conditionRequest sets the pod's PodScheduled condition to False.
func conditionRequest(namespace, name, uid string, c corev1.PodCondition) (apiclient.Request, error) {
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid},
		"status":   map[string]any{"conditions": []corev1.PodCondition{c}},
	})
	return apiclient.Request{Method: http.MethodPatch, Path: podPath(namespace, name) + "/status", Body: body, ContentType: apiclient.StrategicMergePatch}, err
}
