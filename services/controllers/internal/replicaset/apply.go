package replicaset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/write"
)

const (
	// firstTry is how many pods are created before it is known that they are
	// accepted at all; a quota or webhook that rejects everything then sees few tries.
	firstTry = 500
	resend   = 200 * time.Millisecond
)

// apply carries out a change and returns once the mirror shows it. A failure is for
// the set's condition; the error asks for another try.
func (c *Controller) apply(ctx context.Context, set *appsv1.ReplicaSet, todo change) (*failure, error) {
	var err error
	reason := "FailedCreate"
	switch {
	case todo.Create > 0:
		err = c.create(ctx, set, todo.Create)
	case len(todo.Delete) > 0:
		reason, err = "FailedDelete", c.remove(ctx, set, todo.Delete)
	}
	if err != nil {
		return &failure{reason, err.Error()}, err
	}
	return nil, nil
}

func (c *Controller) create(ctx context.Context, set *appsv1.ReplicaSet, count int) error {
	for count > 0 {
		n := min(count, firstTry)
		if err := c.createSome(ctx, set, n); err != nil {
			return err
		}
		count -= n
	}
	return nil
}

func (c *Controller) createSome(ctx context.Context, set *appsv1.ReplicaSet, count int) error {
	if len(set.Spec.Template.Labels) == 0 {
		return errors.New("unable to create pods, no labels")
	}
	requests, names, err := creations(set, count, func(name string) bool { return c.world.Pods.Get(set.Namespace, name) != nil })
	if err != nil {
		return err
	}
	results, resent, err := c.insist(ctx, requests)
	if err != nil {
		return err
	}
	var newest uint64
	var refusal error
	for i, result := range results {
		switch {
		case result.Err == nil:
			newest = max(newest, write.Revision(result.Body))
			c.events.Normal(c.object(set), "SuccessfulCreate", "Created pod: %s", names[i])
		case apierrors.HasStatusCause(result.Err, corev1.NamespaceTerminatingCause): // nothing can be made there any more
		case resent && apierrors.IsAlreadyExists(result.Err): // made by the send whose answer was lost
			newest = max(newest, c.revisionOf(ctx, set.Namespace, names[i]))
		case apierrors.IsAlreadyExists(result.Err): // the name was taken: the next try has another
			refusal = result.Err
		default:
			if refusal == nil || refusal.Error() != result.Err.Error() {
				c.events.Warning(c.object(set), "FailedCreate", "Error creating: %v", result.Err)
			}
			refusal = result.Err
		}
	}
	if err := c.world.Pods.WaitRevision(ctx, newest); err != nil {
		return err
	}
	return refusal
}

// insist sends until there is an answer: with an unknown outcome, counting pods
// again would be guessing.
func (c *Controller) insist(ctx context.Context, requests []apiclient.Request) (results []apiclient.Result, resent bool, err error) {
	for {
		results, err = c.writer.Do(ctx, requests...)
		if err == nil {
			return results, resent, nil
		}
		resent = true
		select {
		case <-ctx.Done():
			return nil, resent, err
		case <-time.After(resend):
		}
	}
}

func (c *Controller) revisionOf(ctx context.Context, namespace, name string) uint64 {
	body, err := c.writer.Read(ctx, write.Path("", "v1", namespace, "pods", name))
	if err != nil {
		return 0
	}
	return write.Revision(body)
}

// creations are requests for pods with names that are not taken.
func creations(set *appsv1.ReplicaSet, count int, taken func(string) bool) (requests []apiclient.Request, names []string, err error) {
	prefix := set.Name + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) != 0 {
		prefix = set.Name
	}
	base := prefix[:min(len(prefix), 63-5)] // as the API shortens a generateName
	template := podFrom(set, prefix)
	path := write.Path("", "v1", set.Namespace, "pods")
	chosen := make(map[string]bool, count)
	for len(names) < count {
		template.Name = base + rand.String(5)
		if chosen[template.Name] || taken(template.Name) {
			continue
		}
		chosen[template.Name] = true
		request, err := write.Create(path, template)
		if err != nil {
			return nil, nil, err
		}
		requests, names = append(requests, request), append(names, template.Name)
	}
	return requests, names, nil
}

// podFrom is a pod of the set's template, without a name.
func podFrom(set *appsv1.ReplicaSet, prefix string) *corev1.Pod {
	template := set.Spec.Template.DeepCopy()
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: prefix, Namespace: set.Namespace,
			Labels: template.Labels, Annotations: template.Annotations, Finalizers: template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*controllerRef(set)},
		},
		Spec: template.Spec,
	}
}

func controllerRef(set *appsv1.ReplicaSet) *metav1.OwnerReference {
	return metav1.NewControllerRef(set, kind)
}

func (c *Controller) remove(ctx context.Context, set *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	requests := make([]apiclient.Request, len(pods))
	for i, p := range pods {
		request, err := write.Delete(write.Path("", "v1", p.Namespace, "pods", p.Name), &metav1.DeleteOptions{Preconditions: write.OnlyUID(p.UID)})
		if err != nil {
			return err
		}
		requests[i] = request
	}
	results, _, err := c.insist(ctx, requests)
	if err != nil {
		return fmt.Errorf("deleting pods: %w", err)
	}
	var refusal error
	for i, result := range results {
		switch {
		case result.Err == nil:
			c.events.Normal(c.object(set), "SuccessfulDelete", "Deleted pod: %s", pods[i].Name)
		case apierrors.IsNotFound(result.Err) || apierrors.IsConflict(result.Err): // gone, or another pod by now
		default:
			c.events.Warning(c.object(set), "FailedDelete", "Error deleting: %v", result.Err)
			refusal = fmt.Errorf("unable to delete pods: %w", result.Err)
			continue
		}
		if err := c.world.Pods.WaitFor(ctx, pods[i].Namespace, pods[i].Name, discounted(pods[i].UID)); err != nil {
			return err
		}
	}
	return refusal
}
