// Package podcontrol makes and deletes pods for the controllers that own some, with
// the events that upstream's controllers record.
//
// Never one pod too many: a call returns when the mirror shows what it did; a pod's
// name is chosen before it is sent, and a create whose outcome is unknown is sent
// again under that name. All pods of a step go out in one request. Where pods are
// refused, by a quota or a webhook, few are tried.
package podcontrol

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/write"
)

const (
	// probe is how many pods are tried first where the last ones of an owner were
	// refused, by a quota or a webhook; where they were taken all go at once.
	probe  = 1
	resend = 200 * time.Millisecond
)

// ErrNoLabels is the answer to a template that selects nothing.
var ErrNoLabels = errors.New("unable to create pods, no labels")

// Control makes and deletes pods as one controller.
type Control struct {
	pods   *mirror.Kind[corev1.Pod]
	writer *write.Client
	events *event.Recorder
	suffix func(base string) string

	mu      sync.Mutex
	refused map[types.UID]bool // owners whose last pods were
}

// New returns a control for the term.
func New(e *frame.Env) *Control {
	e.World.Pods.Follow()
	return &Control{pods: e.World.Pods, writer: e.Writer, events: e.Events, suffix: e.Suffix, refused: map[types.UID]bool{}}
}

// FromTemplate is a pod of a template, controlled by owner and without a name: Create
// chooses one beginning with the owner's.
func FromTemplate(owner metav1.Object, kind schema.GroupVersionKind, template *corev1.PodTemplateSpec) *corev1.Pod {
	copied := template.DeepCopy()
	prefix := owner.GetName() + "-"
	if len(validation.NameIsDNSSubdomain(prefix, true)) != 0 {
		prefix = owner.GetName()
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: prefix, Namespace: owner.GetNamespace(),
			Labels: copied.Labels, Annotations: copied.Annotations, Finalizers: copied.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, kind)},
		},
		Spec: copied.Spec,
	}
}

// Create makes pods, of which those without a name get one from their GenerateName,
// until some are refused. The pods that were made are in the mirror. The errors are
// those of the pods in order; of pods that were not tried it is that of the last
// refusal. late says that the mirror lags behind, or that ctx has ended.
func (c *Control) Create(ctx context.Context, owner event.Object, pods []*corev1.Pod) (errs []error, late error) {
	errs = make([]error, 0, len(pods))
	n := len(pods)
	if c.wasRefused(owner) {
		n = probe
	}
	for len(errs) < len(pods) {
		n = min(n, len(pods)-len(errs))
		some, err := c.createSome(ctx, owner, pods[len(errs):len(errs)+n])
		if err != nil {
			return append(errs, some...), err
		}
		errs, n = append(errs, some...), 2*n
		refusal := errors.Join(some...)
		c.note(owner, refusal != nil)
		for refusal != nil && len(errs) < len(pods) {
			errs = append(errs, refusal)
		}
	}
	return errs, nil
}

func (c *Control) wasRefused(owner event.Object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused[owner.Meta.GetUID()]
}

func (c *Control) note(owner event.Object, refused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if refused {
		c.refused[owner.Meta.GetUID()] = true
	} else {
		delete(c.refused, owner.Meta.GetUID())
	}
}

func (c *Control) createSome(ctx context.Context, owner event.Object, pods []*corev1.Pod) ([]error, error) {
	requests, err := c.creations(pods)
	if err != nil {
		return nil, err
	}
	results, resent, err := c.insist(ctx, requests)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(pods))
	var newest uint64
	last := ""
	for i, result := range results {
		switch p := pods[i]; {
		case result.Err == nil:
			newest = max(newest, write.Revision(result.Body))
			c.events.Normal(owner, "SuccessfulCreate", "Created pod: %s", p.Name)
		case resent && apierrors.IsAlreadyExists(result.Err): // made by the send whose answer was lost
			there, err := c.revisionOf(ctx, p)
			if err != nil {
				return errs, err
			}
			newest = max(newest, there)
		case apierrors.HasStatusCause(result.Err, corev1.NamespaceTerminatingCause), apierrors.IsAlreadyExists(result.Err):
			errs[i] = result.Err
		default:
			errs[i] = result.Err
			if text := result.Err.Error(); text != last {
				last = text
				c.events.Warning(owner, "FailedCreate", "Error creating: %v", result.Err)
			}
		}
	}
	return errs, c.pods.WaitRevision(ctx, newest)
}

// creations are requests for pods with names that are not taken.
func (c *Control) creations(pods []*corev1.Pod) ([]apiclient.Request, error) {
	requests := make([]apiclient.Request, len(pods))
	chosen := map[string]bool{}
	for i, p := range pods {
		if len(p.Labels) == 0 {
			return nil, ErrNoLabels
		}
		for p.Name == "" {
			base := p.GenerateName[:min(len(p.GenerateName), 63-5)] // as the API shortens it
			name := base + c.suffix(p.Namespace+"/"+base)
			if !chosen[name] && c.pods.Get(p.Namespace, name) == nil {
				chosen[name], p.Name = true, name
			}
		}
		p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
		request, err := write.Create(c.pods.Path(p.Namespace), p)
		if err != nil {
			return nil, err
		}
		requests[i] = request
	}
	return requests, nil
}

// insist sends until there is an answer: with an unknown outcome, counting pods
// again would be guessing.
func (c *Control) insist(ctx context.Context, requests []apiclient.Request) (results []apiclient.Result, resent bool, err error) {
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

// revisionOf asks, until there is an answer, for a pod that is there already; zero when
// it is gone by now. Who does not know it would not wait for it, and make another one. It
// is a list of one: not every controller that may list pods may get one.
func (c *Control) revisionOf(ctx context.Context, p *corev1.Pod) (uint64, error) {
	path := c.pods.Path(p.Namespace) + "?fieldSelector=" + url.QueryEscape("metadata.name="+p.Name)
	for {
		var found struct {
			Items []json.RawMessage `json:"items"`
		}
		body, err := c.writer.Read(ctx, path)
		if err == nil {
			err = json.Unmarshal(body, &found)
		}
		switch {
		case err == nil && len(found.Items) == 0:
			return 0, nil
		case err == nil:
			return write.Revision(found.Items[0]), nil
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(resend):
		}
	}
}

// Delete deletes pods on the condition that they are still the same ones. That one is
// gone already, or another by now, is no error. The errors are those of the pods in
// order; late as in Create.
func (c *Control) Delete(ctx context.Context, owner event.Object, pods []*corev1.Pod) (errs []error, late error) {
	if len(pods) == 0 {
		return nil, nil
	}
	requests := make([]apiclient.Request, len(pods))
	for i, p := range pods {
		request, err := write.Delete(c.pods.Path(p.Namespace, p.Name), &metav1.DeleteOptions{Preconditions: write.OnlyUID(p.UID)})
		if err != nil {
			return nil, err
		}
		requests[i] = request
	}
	results, _, err := c.insist(ctx, requests)
	if err != nil {
		return nil, err
	}
	errs = make([]error, len(pods))
	for i, result := range results {
		switch {
		case result.Err == nil:
			c.events.Normal(owner, "SuccessfulDelete", "Deleted pod: %s", pods[i].Name)
		case apierrors.IsNotFound(result.Err) || apierrors.IsConflict(result.Err):
		default:
			c.events.Warning(owner, "FailedDelete", "Error deleting: %v", result.Err)
			errs[i] = result.Err
		}
	}
	return errs, c.pods.WaitUntil(ctx, 0, func(get func(namespace, name string) *corev1.Pod) bool {
		for i, p := range pods {
			if errs[i] == nil && counts(get(p.Namespace, p.Name), p.UID) {
				return false
			}
		}
		return true
	})
}

// counts is true while the pod of that UID is there and neither done nor on its way.
func counts(p *corev1.Pod, uid types.UID) bool {
	return p != nil && p.UID == uid && pod.Active(p)
}
