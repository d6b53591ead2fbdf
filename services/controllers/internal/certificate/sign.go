package certificate

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

type signer struct {
	requests          *requests
	writer            *write.Client
	certFile, keyFile string
}

// Signer signs what is approved, with the configured CA. Without one it does nothing.
func Signer() frame.Definition {
	return frame.Definition{Name: "certificatesigningrequest-signing", User: user, Make: func(e *frame.Env) (frame.Loop, error) {
		s := &signer{e.World.CertificateSigningRequests, e.Writer, e.Config.SigningCertFile, e.Config.SigningKeyFile}
		if s.certFile == "" {
			return nil, nil
		}
		return frame.Keyed(e, s.reconcile, frame.On(s.requests, changed)), nil
	}}
}

func (s *signer) reconcile(ctx context.Context, name string) (time.Duration, error) {
	csr := s.requests.Get("", name)
	if csr == nil || !due(csr) {
		return 0, nil
	}
	request, err := parse(csr)
	if err != nil {
		return 0, fmt.Errorf("%w: unable to parse csr %q: %w", queue.ErrDrop, name, err)
	}
	next := csr.DeepCopy()
	known, refusal := mayBeSigned(csr.Spec.SignerName, request, csr.Spec.Usages)
	switch {
	case !known:
		return 0, nil
	case refusal != nil:
		next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure",
			Message: refusal.Error(), LastUpdateTime: metav1.Now(),
		})
	default:
		ca, err := loadAuthority(s.certFile, s.keyFile)
		if err != nil {
			return 0, err
		}
		if next.Status.Certificate, err = ca.sign(request, csr.Spec.Usages, csr.Spec.ExpirationSeconds, time.Now()); err != nil {
			return 0, fmt.Errorf("error auto signing csr: %w", err)
		}
	}
	return 0, put(ctx, s.writer, s.requests, next, "status")
}

// due is true of requests that are approved and have neither certificate nor failure.
func due(csr *certificatesv1.CertificateSigningRequest) bool {
	approved, denied := judged(csr)
	return approved && !denied && !failedToSign(csr) && len(csr.Status.Certificate) == 0
}
