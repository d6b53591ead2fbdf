package certificate

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

const user = "certificate-controller"

type requests = mirror.Kind[certificatesv1.CertificateSigningRequest]

// changed wakes a request that is there.
func changed(_, new *certificatesv1.CertificateSigningRequest, add func(string)) {
	if new != nil {
		add(new.Name)
	}
}

type approver struct {
	requests *requests
	writer   *write.Client
}

// Approver approves the client certificates that kubelets ask for, where RBAC lets them.
func Approver() frame.Definition {
	return frame.Definition{Name: "certificatesigningrequest-approving", User: user, Make: func(e *frame.Env) (frame.Loop, error) {
		a := &approver{e.World.CertificateSigningRequests, e.Writer}
		return frame.Keyed(e, a.reconcile, frame.On(a.requests, changed)), nil
	}}
}

func (a *approver) reconcile(ctx context.Context, name string) (time.Duration, error) {
	csr := a.requests.Get("", name)
	if csr == nil || len(csr.Status.Certificate) > 0 {
		return 0, nil
	}
	if approved, denied := judged(csr); approved || denied {
		return 0, nil
	}
	request, err := parse(csr)
	if err != nil {
		return 0, fmt.Errorf("%w: unable to parse csr %q: %w", queue.ErrDrop, name, err)
	}
	asked := permissions(csr, request)
	for _, p := range asked {
		allowed, err := a.allowed(ctx, csr, p)
		if err != nil {
			return 0, err
		}
		if allowed {
			return 0, a.approve(ctx, csr, p)
		}
	}
	if len(asked) > 0 { // the right may be given later, and then nothing else would tell
		return 0, fmt.Errorf("recognized csr %q as %v but subject access review was not approved", name, asked)
	}
	return 0, nil
}

// allowed asks whether who made the request may have it approved.
func (a *approver) allowed(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, p permission) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: map[string]authorizationv1.ExtraValue{},
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: certificatesv1.GroupName, Version: "*", Resource: "certificatesigningrequests", Subresource: p.Subresource, Verb: "create",
		},
	}}
	review.APIVersion, review.Kind = authorizationv1.SchemeGroupVersion.String(), "SubjectAccessReview"
	for key, values := range csr.Spec.Extra {
		review.Spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	request, err := write.Create(write.Path(authorizationv1.GroupName, "v1", "", "subjectaccessreviews"), review)
	if err != nil {
		return false, err
	}
	body, err := a.writer.One(ctx, request)
	if err != nil {
		return false, fmt.Errorf("reviewing who asks for a certificate: %w", err)
	}
	if err := json.Unmarshal(body, review); err != nil {
		return false, fmt.Errorf("reviewing who asks for a certificate: %w", err)
	}
	return review.Status.Allowed, nil
}

func (a *approver) approve(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, p permission) error {
	next := csr.DeepCopy()
	next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: p.Message,
	})
	return put(ctx, a.writer, a.requests, next, "approval")
}

// put writes a subresource and waits until the mirror shows it.
func put(ctx context.Context, writer *write.Client, kind *requests, csr *certificatesv1.CertificateSigningRequest, subresource string) error {
	csr.SetGroupVersionKind(kind.GVK())
	request, err := write.Update(kind.Path("", csr.Name, subresource), csr)
	if err != nil {
		return err
	}
	body, err := writer.One(ctx, request)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing %s of csr: %w", subresource, err)
	}
	return kind.WaitRevision(ctx, write.Revision(body))
}
