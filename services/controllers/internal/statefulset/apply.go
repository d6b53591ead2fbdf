package statefulset

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/frame"
)

// apply writes a plan, one request for each of its parts, and returns once the
// mirrors show it. What failed of one pod does not keep the others back; but nothing
// is retired unless all else is written.
func (c *controller) apply(ctx context.Context, set *appsv1.StatefulSet, next plan) error {
	steps, rest := c.refusals.allowed(frame.KeyOf(set), next.Pods)
	errs := make([]error, len(steps)) // what keeps each step from going on
	for i := range steps {
		errs[i] = steps[i].Blocked
	}
	if err := c.makeClaims(ctx, set, steps, errs); err != nil {
		return err
	}
	if err := c.writePods(ctx, set, steps, errs); err != nil {
		return err
	}
	c.refusals.saw(frame.KeyOf(set), steps, errs)
	late := c.changeOwners(ctx, set, steps, errs, next.Owners)
	if err := errors.Join(errors.Join(errs...), late); err != nil || rest {
		return err // the pods that were made wake the set for the rest
	}
	return c.retire(ctx, set, next.Retire)
}

// makeClaims creates the claims of all steps. A claim that fails keeps its pod back.
func (c *controller) makeClaims(ctx context.Context, set *appsv1.StatefulSet, steps []step, errs []error) error {
	var changes []frame.Change[corev1.PersistentVolumeClaim]
	var of []int
	var made []*corev1.PersistentVolumeClaim
	for i := range steps {
		for _, claim := range steps[i].Claims {
			changes, of, made = append(changes, frame.Creating(claim)), append(of, i), append(made, claim)
		}
	}
	failures, late := c.claims.Do(ctx, changes...)
	for i, err := range failures {
		name, podName := made[i].Name, steps[of[i]].Pod.Name
		switch {
		case err == nil:
			c.events.Normal(object(set), "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", name, podName, set.Name)
		case !apierrors.IsAlreadyExists(err) && !ending(err):
			c.events.Warning(object(set), "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %v", name, podName, set.Name, err)
		}
		if err != nil {
			errs[of[i]] = errors.Join(errs[of[i]], fmt.Errorf("failed to create PVC %s: %w", name, err))
		}
	}
	for i := range steps {
		if errs[i] != nil {
			c.tell(set, &steps[i], steps[i].Told, errs[i])
		}
	}
	return late
}

// writePods writes the pods of the steps that nothing keeps back.
func (c *controller) writePods(ctx context.Context, set *appsv1.StatefulSet, steps []step, errs []error) error {
	var changes []frame.Change[corev1.Pod]
	var of []int
	for i := range steps {
		if errs[i] != nil || steps[i].Write == none {
			continue
		}
		changes, of = append(changes, steps[i].change()), append(of, i)
	}
	failures, late := c.pods.Do(ctx, changes...)
	for i, err := range failures {
		s := &steps[of[i]]
		if s.Write == remove && gone(err) {
			err = nil
		}
		errs[of[i]] = err
		if !apierrors.IsAlreadyExists(err) {
			c.tell(set, s, s.Told, err)
		}
	}
	return late
}

func (s *step) change() frame.Change[corev1.Pod] {
	switch s.Write {
	case create:
		return frame.Creating(s.Pod)
	case remove:
		return frame.Deleting(s.Pod, nil)
	}
	return frame.Patching(s.Pod, map[string]any{
		"metadata": map[string]any{"uid": s.Pod.UID, "labels": map[string]any{
			appsv1.StatefulSetPodNameLabel: s.Pod.Labels[appsv1.StatefulSetPodNameLabel],
			appsv1.PodIndexLabel:           s.Pod.Labels[appsv1.PodIndexLabel],
		}},
		"spec": map[string]any{"volumes": s.Pod.Spec.Volumes},
	}, "")
}

// changeOwners settles whom the claims are to die with: those of the steps that
// went well, and those of pods that are to go.
func (c *controller) changeOwners(ctx context.Context, set *appsv1.StatefulSet, steps []step, errs []error, condemned []*corev1.PersistentVolumeClaim) error {
	var change []*corev1.PersistentVolumeClaim
	var of []int
	for i := range steps {
		for _, claim := range steps[i].Owners {
			if errs[i] == nil {
				change, of = append(change, claim), append(of, i)
			}
		}
	}
	change = append(change, condemned...)
	changes := make([]frame.Change[corev1.PersistentVolumeClaim], len(change))
	for i, claim := range change {
		changes[i] = frame.Updating(claim)
	}
	failures, late := c.claims.Do(ctx, changes...)
	var others []error
	for i, err := range failures {
		if err == nil {
			continue
		}
		err = fmt.Errorf("could not update claim %s for delete policy ownerRefs: %w", change[i].Name, err)
		if i < len(of) {
			errs[of[i]] = err
			c.tell(set, &steps[of[i]], update, err)
		} else {
			others = append(others, err)
		}
	}
	for i := range steps {
		if s := &steps[i]; s.Write == none && s.Told == update && errs[i] == nil {
			c.tell(set, s, update, nil)
		}
	}
	return errors.Join(errors.Join(others...), late)
}

// retire deletes pods that are not wished any more, or not as they are.
func (c *controller) retire(ctx context.Context, set *appsv1.StatefulSet, pods []*corev1.Pod) error {
	changes := make([]frame.Change[corev1.Pod], len(pods))
	for i, p := range pods {
		changes[i] = frame.Deleting(p, nil)
	}
	errs, late := c.pods.Do(ctx, changes...)
	for i := range errs {
		if gone(errs[i]) {
			errs[i] = nil
		}
		c.tell(set, &step{Pod: pods[i]}, remove, errs[i])
	}
	return errors.Join(errors.Join(errs...), late)
}

// tell records what became of a pod's step, in upstream's words.
func (c *controller) tell(set *appsv1.StatefulSet, s *step, told verb, err error) {
	title := strings.ToUpper(string(told[:min(1, len(told))])) + string(told[min(1, len(told)):])
	switch {
	case told == none || ending(err):
	case err == nil:
		c.events.Normal(object(set), "Successful"+title, "%s Pod %s in StatefulSet %s successful", title, s.Pod.Name, set.Name)
	default:
		c.events.Warning(object(set), "Failed"+title, "%s Pod %s in StatefulSet %s failed error: %v", title, s.Pod.Name, set.Name, err)
	}
}

// ending: the namespace is being deleted, and no place for events any more.
func ending(err error) bool { return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) }

// gone: the pod is not there any more, or another one is.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// refusals remember the sets whose pods a quota, a webhook or a broken template keeps
// from being made: of those few are tried at a time, twice as many after each success.
type refusals struct {
	mu    sync.Mutex
	limit map[types.NamespacedName]int
}

// allowed are the steps to take now; rest is true if there are more.
func (r *refusals) allowed(key types.NamespacedName, steps []step) (now []step, rest bool) {
	r.mu.Lock()
	limit, limited := r.limit[key]
	r.mu.Unlock()
	if !limited {
		return steps, false
	}
	for _, s := range steps {
		if s.Write == create {
			if limit--; limit < 0 {
				rest = true
				continue
			}
		}
		now = append(now, s)
	}
	return now, rest
}

// saw learns from how the creations went.
func (r *refusals) saw(key types.NamespacedName, steps []step, errs []error) {
	tried, refused := 0, false
	for i := range steps {
		if steps[i].Write == create {
			tried++
			refused = refused || errs[i] != nil
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	limit, limited := r.limit[key]
	switch {
	case refused && r.limit == nil:
		r.limit = map[types.NamespacedName]int{key: 1}
	case refused:
		r.limit[key] = 1
	case limited && tried >= limit:
		r.limit[key] = 2 * limit
	case limited && tried > 0:
		delete(r.limit, key)
	}
}

func (r *refusals) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.limit, key)
}
