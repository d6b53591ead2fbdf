package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
)

// Preempt implements planner.Binder. Pods are told first why they go, and the one that gets
// the room where; then those are deleted, with their grace period, that could be told.
func (b *Binder) Preempt(ctx context.Context, preemptions []planner.Preemption) ([]planner.Verdict, error) {
	verdicts := make([]planner.Verdict, len(preemptions))
	var tell tasks
	for i := range preemptions {
		verdicts[i] = planner.Verdict{Outcome: planner.Bound}
		if err := tell.announce(i, &preemptions[i], time.Now()); err != nil {
			return nil, err
		}
	}
	told, err := b.client.Bulk(ctx, apiclient.BulkOptions{Fence: b.fence}, tell.requests)
	if err != nil {
		return nil, fmt.Errorf("announcing preemptions: %w", err)
	}
	var remove tasks
	for i, t := range tell.tasks {
		verdicts[t.of] = worse(verdicts[t.of], told[i].Err)
		if told[i].Err == nil && t.victim != nil {
			if err := remove.remove(t.of, t.victim); err != nil {
				return nil, err
			}
		}
	}
	removed, err := b.client.Bulk(ctx, apiclient.BulkOptions{Fence: b.fence}, remove.requests)
	if err != nil {
		return nil, fmt.Errorf("deleting preempted pods: %w", err)
	}
	for i, t := range remove.tasks {
		verdicts[t.of] = worse(verdicts[t.of], removed[i].Err)
	}
	return verdicts, nil
}

// tasks are requests, each for one of several preemptions.
type tasks struct {
	requests []apiclient.Request
	tasks    []task
}

type task struct {
	of     int
	victim *shape.Pod // whom the request is about
}

func (t *tasks) add(of int, victim *shape.Pod, r apiclient.Request) {
	t.requests, t.tasks = append(t.requests, r), append(t.tasks, task{of, victim})
}

func (t *tasks) announce(of int, p *planner.Preemption, now time.Time) error {
	for _, pod := range append([]*shape.Pod{p.Pod}, p.Displace...) {
		node := ""
		if pod == p.Pod {
			node = p.Node
		}
		r, err := nominationRequest(pod, node)
		if err != nil {
			return fmt.Errorf("encoding a nomination: %w", err)
		}
		t.add(of, nil, r)
	}
	for _, victim := range p.Victims {
		r, err := conditionRequest(victim.Namespace, victim.Name, victim.UID, disruption(victim, p.Pod, now))
		if err != nil {
			return fmt.Errorf("encoding a condition: %w", err)
		}
		t.add(of, victim, r)
	}
	return nil
}

func (t *tasks) remove(of int, victim *shape.Pod) error {
	uid := types.UID(victim.UID)
	r, err := apiclient.DeleteRequest(podPath(victim.Namespace, victim.Name), &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil {
		return err
	}
	t.add(of, victim, r)
	return nil
}

// disruption is upstream's condition of a preempted pod.
func disruption(victim, by *shape.Pod, now time.Time) corev1.PodCondition {
	return corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            fmt.Sprintf("%s: preempting to accommodate a higher priority pod", by.Shape.SchedulerName),
		LastTransitionTime: metav1.NewTime(now), ObservedGeneration: victim.Generation,
	}
}

// nominationRequest sets the pod's nominatedNodeName, or takes it away with node "".
func nominationRequest(pod *shape.Pod, node string) (apiclient.Request, error) {
	var value any
	if node != "" {
		value = node
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"nominatedNodeName": value},
	})
	return apiclient.Request{Method: http.MethodPatch, Path: podPath(pod.Namespace, pod.Name) + "/status", Body: body, ContentType: apiclient.MergePatch}, err
}

// worse adds the answer to one more request of a preemption. Pods that are gone, or are others
// by now, are no longer in the way.
func worse(v planner.Verdict, err error) planner.Verdict {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || v.Outcome == planner.Refused {
		return v
	}
	if next := verdict(err); next.Outcome != planner.Bound {
		return next
	}
	return v
}
