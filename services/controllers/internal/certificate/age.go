package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// How long requests are kept, as upstream.
const (
	keptSettled = time.Hour      // issued, denied or failed
	keptPending = 24 * time.Hour // nobody judged, or nobody signed
	// keptPodRequests: a kubelet asks anew after that.
	keptPodRequests = 15 * time.Minute
)

// expiry is how long a request may stay and why it goes then. It is zero when it is to
// go, and negative for one that nobody dated.
func expiry(csr *certificatesv1.CertificateSigningRequest, now time.Time) (left time.Duration, why string) {
	left = -1
	until := func(since time.Time, kept time.Duration, reason string) {
		if since.IsZero() {
			return
		}
		if rest := max(0, since.Add(kept).Sub(now)); left < 0 || rest < left {
			left, why = rest, reason
		}
	}
	issued := len(csr.Status.Certificate) > 0
	if len(csr.Status.Conditions) == 0 {
		until(csr.CreationTimestamp.Time, keptPending, "nobody has judged it")
	}
	for i := range csr.Status.Conditions {
		c := &csr.Status.Conditions[i]
		switch since := c.LastUpdateTime.Time; {
		case c.Type == certificatesv1.CertificateDenied:
			until(since, keptSettled, "it was denied")
		case c.Type == certificatesv1.CertificateFailed:
			until(since, keptSettled, "it failed")
		case c.Type == certificatesv1.CertificateApproved && issued:
			until(since, keptSettled, "its certificate was issued")
			until(notAfter(csr.Status.Certificate), 0, "its certificate has expired")
		case c.Type == certificatesv1.CertificateApproved:
			until(since, keptPending, "nobody has signed it")
		}
	}
	return left, why
}

// notAfter is zero for what is no certificate.
func notAfter(data []byte) time.Time {
	block, _ := pem.Decode(data)
	if block == nil {
		return time.Time{}
	}
	certificates, err := x509.ParseCertificates(block.Bytes)
	if err != nil || len(certificates) == 0 {
		return time.Time{}
	}
	return certificates[0].NotAfter
}
