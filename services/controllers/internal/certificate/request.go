package certificate

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// legacyUnknown signs whatever is approved; of the API's v1beta1.
const legacyUnknown = "kubernetes.io/legacy-unknown"

// parse reads the request inside a CertificateSigningRequest.
func parse(csr *certificatesv1.CertificateSigningRequest) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// judged says whether somebody has approved or denied the request.
func judged(csr *certificatesv1.CertificateSigningRequest) (approved, denied bool) {
	for i := range csr.Status.Conditions {
		switch csr.Status.Conditions[i].Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied:
			denied = true
		}
	}
	return approved, denied
}

func failedToSign(csr *certificatesv1.CertificateSigningRequest) bool {
	return slices.ContainsFunc(csr.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == certificatesv1.CertificateFailed && (c.Status == "" || c.Status == corev1.ConditionTrue)
	})
}

// mayBeSigned says that a request is not one that its signer signs; known is false for
// signers that are not ours.
func mayBeSigned(signer string, request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) (known bool, err error) {
	switch signer {
	case certificatesv1.KubeAPIServerClientSignerName:
		return true, clientUsages(usages)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return true, kubeletClient(request, usages)
	case certificatesv1.KubeletServingSignerName:
		return true, kubeletServing(request, usages)
	case legacyUnknown:
		return true, nil
	}
	return false, nil
}

func clientUsages(usages []certificatesv1.KeyUsage) error {
	for _, usage := range usages {
		switch usage {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", usage)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}

func kubeletClient(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !ofNodes(request):
		return errors.New("subject organization is not system:nodes")
	case len(request.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(request.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(request.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(request.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := nodeNamed(request); err != nil {
		return err
	}
	return exactly(usages, certificatesv1.UsageClientAuth)
}

func kubeletServing(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !ofNodes(request):
		return errors.New("subject organization is not system:nodes")
	case len(request.DNSNames) == 0 && len(request.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(request.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(request.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := exactly(usages, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	return nodeNamed(request)
}

func nodeNamed(request *x509.CertificateRequest) error {
	if !strings.HasPrefix(request.Subject.CommonName, "system:node:") {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

func ofNodes(request *x509.CertificateRequest) bool {
	return slices.Equal(request.Subject.Organization, []string{"system:nodes"})
}

// exactly wants the purpose and a signature, with the encipherment that RSA keys are
// for or without it, and nothing else.
func exactly(usages []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	allowed := []string{string(purpose), string(certificatesv1.UsageDigitalSignature), string(certificatesv1.UsageKeyEncipherment)}
	slices.Sort(allowed)
	for _, usage := range usages {
		if !slices.Contains(allowed, string(usage)) {
			return fmt.Errorf("usages did not match %v", allowed)
		}
	}
	if !slices.Contains(usages, purpose) || !slices.Contains(usages, certificatesv1.UsageDigitalSignature) {
		return fmt.Errorf("usages did not match %v", allowed)
	}
	return nil
}

// permission is what lets a kubelet have its certificate without a person's approval.
type permission struct {
	Subresource string
	Message     string
}

// permissions are those of which one suffices, in the order in which they are asked
// for: of a node for itself, and of whoever may ask for any node.
func permissions(csr *certificatesv1.CertificateSigningRequest, request *x509.CertificateRequest) []permission {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || kubeletClient(request, csr.Spec.Usages) != nil {
		return nil
	}
	anyNode := permission{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}
	if csr.Spec.Username != request.Subject.CommonName {
		return []permission{anyNode}
	}
	return []permission{{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}, anyNode}
}
