package certificate

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
)

type cleaner struct {
	requests *requests
	objects  frame.Objects[certificatesv1.CertificateSigningRequest]
	logger   *zap.Logger
}

// Cleaner deletes CertificateSigningRequests when their time is over.
func Cleaner() frame.Definition {
	return frame.Definition{Name: "certificatesigningrequest-cleaner", User: user, Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		c := &cleaner{e.World.CertificateSigningRequests, frame.Of(e, e.World.CertificateSigningRequests), e.Logger}
		return frame.Keyed(e, c.reconcile, frame.On(c.requests, changed)), nil
	}}
}

func (c *cleaner) reconcile(ctx context.Context, name string) (time.Duration, error) {
	csr := c.requests.Get("", name)
	if csr == nil || csr.DeletionTimestamp != nil {
		return 0, nil
	}
	left, why := expiry(csr, time.Now())
	if left != 0 {
		return max(0, left), nil
	}
	c.logger.Info("request for a certificate deleted", zap.String("name", name), zap.String("why", why))
	if err := c.objects.Delete(ctx, csr, nil); err != nil {
		return 0, fmt.Errorf("unable to delete CSR %q: %w", name, err)
	}
	return 0, nil
}

type podCleaner struct {
	requests *mirror.Kind[certificatesv1.PodCertificateRequest]
	objects  frame.Objects[certificatesv1.PodCertificateRequest]
}

// PodCleaner deletes PodCertificateRequests when they are old.
func PodCleaner() frame.Definition {
	return frame.Definition{Name: "podcertificaterequest-cleaner", User: "podcertificaterequestcleaner", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		c := &podCleaner{e.World.PodCertificateRequests, frame.Of(e, e.World.PodCertificateRequests)}
		return frame.Keyed(e, c.reconcile, frame.On(c.requests, func(_, new *certificatesv1.PodCertificateRequest, add func(types.NamespacedName)) {
			if new != nil {
				add(frame.KeyOf(new))
			}
		})), nil
	}}
}

func (c *podCleaner) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	request := c.requests.Get(key.Namespace, key.Name)
	if request == nil || request.DeletionTimestamp != nil {
		return 0, nil
	}
	if left := time.Until(request.CreationTimestamp.Add(keptPodRequests)); left > 0 {
		return left, nil
	}
	if err := c.objects.Delete(ctx, request, nil); err != nil {
		return 0, fmt.Errorf("unable to delete PodCertificateRequest %q: %w", key, err)
	}
	return 0, nil
}
