package certificate

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

const (
	// lifetime is the longest that a certificate is given.
	lifetime = 365 * 24 * time.Hour
	// shortest is what who asks for less gets.
	shortest = 10 * time.Minute
	// backdate is for clocks that are slow. A certificate that lives no longer than
	// brief ends no earlier for it.
	backdate = 5 * time.Minute
	brief    = 8 * time.Hour
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// loadAuthority reads a certificate and its key, both PEM.
func loadAuthority(certFile, keyFile string) (*authority, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the signing CA: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading the signing CA: %s is no key that signs", keyFile)
	}
	return &authority{pair.Leaf, key}, nil
}

// sign makes the certificate that is asked for, PEM: subject, names and key are the
// request's, the usages are those given, extensions are not taken over, and it lives
// for the time asked for, in bounds, but not longer than the CA.
func (a *authority) sign(request *x509.CertificateRequest, usages []certificatesv1.KeyUsage, seconds *int32, now time.Time) ([]byte, error) {
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("unable to verify certificate request signature: %w", err)
	}
	usage, extended, err := keyUsages(usages)
	if err != nil {
		return nil, err
	}
	from, to, err := span(life(seconds), a.certificate.NotAfter, now)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, fmt.Errorf("unable to generate a serial number for %s: %w", request.Subject.CommonName, err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: request.Subject, NotBefore: from, NotAfter: to,
		DNSNames: request.DNSNames, IPAddresses: request.IPAddresses, EmailAddresses: request.EmailAddresses, URIs: request.URIs,
		KeyUsage: usage, ExtKeyUsage: extended, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, request.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("failed to sign certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func life(seconds *int32) time.Duration {
	if seconds == nil {
		return lifetime
	}
	return min(lifetime, max(shortest, time.Duration(*seconds)*time.Second))
}

// span is the time of a certificate's validity.
func span(life time.Duration, end, now time.Time) (from, to time.Time, err error) {
	from, to = now.Add(-backdate), now.Add(life)
	if life >= brief {
		to = to.Add(-backdate)
	}
	if !to.Before(end) {
		to = end
	}
	switch {
	case !from.Before(end):
		return from, to, fmt.Errorf("the signer has expired: NotAfter=%v", end)
	case !now.Before(end):
		return from, to, fmt.Errorf("refusing to sign a certificate that expired in the past: NotAfter=%v", end)
	}
	return from, to, nil
}

var (
	plainUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
		certificatesv1.UsageSigning: x509.KeyUsageDigitalSignature, certificatesv1.UsageDigitalSignature: x509.KeyUsageDigitalSignature,
		certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment, certificatesv1.UsageKeyEncipherment: x509.KeyUsageKeyEncipherment,
		certificatesv1.UsageKeyAgreement: x509.KeyUsageKeyAgreement, certificatesv1.UsageDataEncipherment: x509.KeyUsageDataEncipherment,
		certificatesv1.UsageCertSign: x509.KeyUsageCertSign, certificatesv1.UsageCRLSign: x509.KeyUsageCRLSign,
		certificatesv1.UsageEncipherOnly: x509.KeyUsageEncipherOnly, certificatesv1.UsageDecipherOnly: x509.KeyUsageDecipherOnly,
	}
	extendedUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
		certificatesv1.UsageAny: x509.ExtKeyUsageAny, certificatesv1.UsageServerAuth: x509.ExtKeyUsageServerAuth,
		certificatesv1.UsageClientAuth: x509.ExtKeyUsageClientAuth, certificatesv1.UsageCodeSigning: x509.ExtKeyUsageCodeSigning,
		certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection, certificatesv1.UsageSMIME: x509.ExtKeyUsageEmailProtection,
		certificatesv1.UsageIPsecEndSystem: x509.ExtKeyUsageIPSECEndSystem, certificatesv1.UsageIPsecTunnel: x509.ExtKeyUsageIPSECTunnel,
		certificatesv1.UsageIPsecUser: x509.ExtKeyUsageIPSECUser, certificatesv1.UsageTimestamping: x509.ExtKeyUsageTimeStamping,
		certificatesv1.UsageOCSPSigning: x509.ExtKeyUsageOCSPSigning, certificatesv1.UsageMicrosoftSGC: x509.ExtKeyUsageMicrosoftServerGatedCrypto,
		certificatesv1.UsageNetscapeSGC: x509.ExtKeyUsageNetscapeServerGatedCrypto,
	}
)

func keyUsages(usages []certificatesv1.KeyUsage) (plain x509.KeyUsage, extended []x509.ExtKeyUsage, err error) {
	var unknown []certificatesv1.KeyUsage
	for _, usage := range usages {
		if bit, ok := plainUsages[usage]; ok {
			plain |= bit
		} else if id, ok := extendedUsages[usage]; ok {
			extended = append(extended, id)
		} else {
			unknown = append(unknown, usage)
		}
	}
	if len(unknown) > 0 {
		return 0, nil, fmt.Errorf("unrecognized usage values: %q", unknown)
	}
	slices.Sort(extended)
	return plain, slices.Compact(extended), nil
}
