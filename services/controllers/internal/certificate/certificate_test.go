package certificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// testCA is a CA and the files it is in.
type testCA struct {
	*authority
	files [2]string
}

// newCA writes a CA that ends at a time and loads it.
func newCA(t *testing.T, end time.Time) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Unix(0, 0), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, keyFile := filepath.Join(t.TempDir(), "ca.crt"), filepath.Join(t.TempDir(), "ca.key")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca, err := loadAuthority(cert, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return testCA{ca, [2]string{cert, keyFile}}
}

// newCSR asks for a subject "org/name" with names in the clear: a.b is DNS, 1.2.3.4 an
// address, x@y mail, x://y a URI.
func newCSR(t *testing.T, signer, subject string, usages string, names ...string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	org, name, _ := strings.Cut(subject, "/")
	request := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	if org != "" {
		request.Subject.Organization = strings.Split(org, "+")
	}
	for _, n := range names {
		u, _ := url.Parse(n)
		switch {
		case strings.Contains(n, "://"):
			request.URIs = append(request.URIs, u)
		case strings.Contains(n, "@"):
			request.EmailAddresses = append(request.EmailAddresses, n)
		case net.ParseIP(n) != nil:
			request.IPAddresses = append(request.IPAddresses, net.ParseIP(n))
		default:
			request.DNSNames = append(request.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, request, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r", CreationTimestamp: metav1.NewTime(noon)}}
	csr.Spec = certificatesv1.CertificateSigningRequestSpec{SignerName: signer, Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})}
	for usage := range strings.SplitSeq(usages, ",") {
		if usage != "" {
			csr.Spec.Usages = append(csr.Spec.Usages, certificatesv1.KeyUsage(usage))
		}
	}
	return csr
}

func TestWhatEachSignerSigns(t *testing.T) {
	t.Parallel()
	const (
		client  = certificatesv1.KubeAPIServerClientSignerName
		kubelet = certificatesv1.KubeAPIServerClientKubeletSignerName
		serving = certificatesv1.KubeletServingSignerName
		node    = "system:nodes/system:node:n"
	)
	for _, c := range []struct {
		name, signer, subject, usages string
		names                         []string
		refusal                       string
	}{
		{"a client certificate", client, "team/jane", "client auth", nil, ""},
		{"with what RSA keys need", client, "team/jane", "digital signature,key encipherment,client auth", nil, ""},
		{"but for no server", client, "team/jane", "client auth,server auth", nil, "invalid usage for client certificate: server auth"},
		{"and for a client", client, "team/jane", "digital signature", nil, "missing required usage for client certificate: client auth"},
		{"a kubelet's client certificate", kubelet, node, "digital signature,client auth", nil, ""},
		{"a kubelet's with RSA", kubelet, node, "client auth,key encipherment,digital signature", nil, ""},
		{"not of more usages", kubelet, node, "client auth,digital signature,server auth", nil, "usages did not match [client auth digital signature key encipherment]"},
		{"nor of fewer", kubelet, node, "client auth", nil, "usages did not match [client auth digital signature key encipherment]"},
		{"not of another group", kubelet, "team/system:node:n", "digital signature,client auth", nil, "subject organization is not system:nodes"},
		{"nor of a second one", kubelet, "system:nodes+team/system:node:n", "digital signature,client auth", nil, "subject organization is not system:nodes"},
		{"not of another name", kubelet, "system:nodes/jane", "digital signature,client auth", nil, "subject common name does not begin with system:node:"},
		{"not with DNS names", kubelet, node, "digital signature,client auth", []string{"a.b"}, "DNS subjectAltNames are not allowed"},
		{"not with addresses", kubelet, node, "digital signature,client auth", []string{"1.2.3.4"}, "IP subjectAltNames are not allowed"},
		{"not with mail addresses", kubelet, node, "digital signature,client auth", []string{"x@y"}, "Email subjectAltNames are not allowed"},
		{"not with URIs", kubelet, node, "digital signature,client auth", []string{"x://y"}, "URI subjectAltNames are not allowed"},
		{"a kubelet's serving certificate", serving, node, "digital signature,server auth", []string{"n.example.com", "1.2.3.4"}, ""},
		{"names someone", serving, node, "digital signature,server auth", nil, "DNS or IP subjectAltName is required"},
		{"serves no mail", serving, node, "digital signature,server auth", []string{"a.b", "x@y"}, "Email subjectAltNames are not allowed"},
		{"and no URI", serving, node, "digital signature,server auth", []string{"a.b", "x://y"}, "URI subjectAltNames are not allowed"},
		{"is for serving", serving, node, "digital signature,client auth", []string{"a.b"}, "usages did not match [digital signature key encipherment server auth]"},
		{"is a node's", serving, "system:nodes/jane", "digital signature,server auth", []string{"a.b"}, "subject common name does not begin with system:node:"},
		{"the legacy signer signs all", legacyUnknown, "any/thing", "any", []string{"x://y"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			csr := newCSR(t, c.signer, c.subject, c.usages, c.names...)
			request, err := parse(csr)
			if err != nil {
				t.Fatal(err)
			}
			known, err := mayBeSigned(c.signer, request, csr.Spec.Usages)
			if got := fmt.Sprint(err); !known || got != c.refusal && (err != nil || c.refusal != "") {
				t.Errorf("got known %v, %q, want %q", known, got, c.refusal)
			}
		})
	}
	if known, _ := mayBeSigned("example.com/own", nil, nil); known {
		t.Error("somebody else's signer is taken for ours")
	}
}

func TestWhoIsApprovedWithoutAPerson(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, signer, user, usages, want string
	}{
		{"a node for itself, or as one who may for any", certificatesv1.KubeAPIServerClientKubeletSignerName, "system:node:n", "digital signature,client auth", "selfnodeclient nodeclient"},
		{"a bootstrapper for any node", certificatesv1.KubeAPIServerClientKubeletSignerName, "system:bootstrap:abcdef", "digital signature,client auth", "nodeclient"},
		{"nobody who asks for too much", certificatesv1.KubeAPIServerClientKubeletSignerName, "system:node:n", "digital signature,client auth,server auth", ""},
		{"nobody at another signer", certificatesv1.KubeAPIServerClientSignerName, "system:node:n", "digital signature,client auth", ""},
	} {
		csr := newCSR(t, c.signer, "system:nodes/system:node:n", c.usages)
		csr.Spec.Username = c.user
		request, err := parse(csr)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range permissions(csr, request) {
			got = append(got, p.Subresource)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestASignedCertificateIsTheOneAskedFor(t *testing.T) {
	t.Parallel()
	ca := newCA(t, noon.Add(1000*24*time.Hour))
	csr := newCSR(t, legacyUnknown, "team/jane", "digital signature,server auth,client auth,server auth", "a.b", "1.2.3.4", "x@y", "x://y")
	request, err := parse(csr)
	if err != nil {
		t.Fatal(err)
	}
	data, err := ca.sign(request, csr.Spec.Usages, nil, noon)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.CheckSignatureFrom(ca.certificate); err != nil {
		t.Error(err)
	}
	if cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(cert.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("usages: got %v %v, CA %v", cert.KeyUsage, cert.ExtKeyUsage, cert.IsCA)
	}
	got := fmt.Sprint(cert.Subject, cert.DNSNames, cert.IPAddresses, cert.EmailAddresses, cert.URIs)
	if want := "CN=jane,O=team[a.b][1.2.3.4][x@y][x://y]"; strings.ReplaceAll(got, " ", "") != want {
		t.Errorf("got %s, want %s", got, want)
	}
	request.Signature[len(request.Signature)-1] ^= 1
	if _, err := ca.sign(request, csr.Spec.Usages, nil, noon); err == nil {
		t.Error("a request whose signature is wrong is signed")
	}
}

func TestUsagesThatNobodyKnowsAreNotSigned(t *testing.T) {
	t.Parallel()
	if _, _, err := keyUsages([]certificatesv1.KeyUsage{"client auth", "world peace"}); err == nil || err.Error() != `unrecognized usage values: ["world peace"]` {
		t.Errorf("got %v", err)
	}
}

func TestHowLongACertificateLives(t *testing.T) {
	t.Parallel()
	seconds := func(n int32) *int32 { return &n }
	for _, c := range []struct {
		name     string
		asked    *int32
		caEnds   time.Duration
		from, to time.Duration
		refusal  string
	}{
		{"a year where nothing is asked for", nil, 9e3 * time.Hour, -5 * time.Minute, lifetime - 5*time.Minute, ""},
		{"no longer than a year", seconds(1 << 30), 9e3 * time.Hour, -5 * time.Minute, lifetime - 5*time.Minute, ""},
		{"as long as asked for", seconds(24 * 3600), 9e3 * time.Hour, -5 * time.Minute, 24*time.Hour - 5*time.Minute, ""},
		{"a short life is whole", seconds(3600), 9e3 * time.Hour, -5 * time.Minute, time.Hour, ""},
		{"ten minutes at least", seconds(1), 9e3 * time.Hour, -5 * time.Minute, 10 * time.Minute, ""},
		{"no longer than its CA", nil, time.Hour, -5 * time.Minute, time.Hour, ""},
		{"of a CA that has just ended nothing is signed", nil, -time.Minute, 0, 0, "refusing to sign a certificate that expired in the past"},
		{"of a CA that has ended nothing is signed", nil, -time.Hour, 0, 0, "the signer has expired"},
	} {
		from, to, err := span(life(c.asked), noon.Add(c.caEnds), noon)
		switch {
		case c.refusal != "":
			if err == nil || !strings.HasPrefix(err.Error(), c.refusal) {
				t.Errorf("%s: got %v, want %s", c.name, err, c.refusal)
			}
		case err != nil || from.Sub(noon) != c.from || to.Sub(noon) != c.to:
			t.Errorf("%s: got %v to %v (%v), want %v to %v", c.name, from.Sub(noon), to.Sub(noon), err, c.from, c.to)
		}
	}
}

func TestWhenARequestGoes(t *testing.T) {
	t.Parallel()
	ca := newCA(t, noon.Add(9e3*time.Hour))
	for _, c := range []struct {
		name       string
		conditions string
		at         time.Duration // of the conditions, since it was made
		issued     bool
		now        time.Duration // since it was made
		want       time.Duration
	}{
		{"pending for a day", "", 0, false, time.Hour, 23 * time.Hour},
		{"then it goes", "", 0, false, 25 * time.Hour, 0},
		{"denied for an hour", "Denied", time.Hour, false, 90 * time.Minute, 30 * time.Minute},
		{"failed for an hour", "Approved Failed", 0, false, 20 * time.Minute, 40 * time.Minute},
		{"approved and not signed for a day", "Approved", time.Hour, false, 2 * time.Hour, 23 * time.Hour},
		{"signed for an hour", "Approved", time.Minute, true, 2 * time.Minute, 59 * time.Minute},
		{"or until the certificate ends", "Approved", 5 * time.Minute, true, 9 * time.Minute, time.Minute},
		{"that has ended", "Approved", 5 * time.Minute, true, 11 * time.Minute, 0},
	} {
		csr := newCSR(t, legacyUnknown, "team/jane", "client auth")
		for kind := range strings.FieldsSeq(c.conditions) {
			csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
				Type: certificatesv1.RequestConditionType(kind), LastUpdateTime: metav1.NewTime(noon.Add(c.at)),
			})
		}
		if c.issued {
			request, err := parse(csr)
			if err != nil {
				t.Fatal(err)
			}
			ten := int32(600)
			seconds := &ten
			if c.want > time.Minute {
				seconds = nil
			}
			if csr.Status.Certificate, err = ca.sign(request, csr.Spec.Usages, seconds, noon); err != nil {
				t.Fatal(err)
			}
		}
		if got, why := expiry(csr, noon.Add(c.now)); got != c.want {
			t.Errorf("%s: got %v (%s), want %v", c.name, got, why, c.want)
		}
	}
	undated := &certificatesv1.CertificateSigningRequest{Status: certificatesv1.CertificateSigningRequestStatus{Conditions: []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied}}}}
	if got, _ := expiry(undated, noon); got >= 0 {
		t.Errorf("without a date: got %v, want never", got)
	}
}

func TestWhatIsDueForASignature(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		conditions string
		issued     bool
		want       bool
	}{
		{"", false, false}, {"Approved", false, true}, {"Approved", true, false}, {"Denied", false, false}, {"Approved Denied", false, false}, {"Approved Failed", false, false},
	} {
		csr := &certificatesv1.CertificateSigningRequest{}
		for kind := range strings.FieldsSeq(c.conditions) {
			csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.RequestConditionType(kind)})
		}
		if c.issued {
			csr.Status.Certificate = []byte("x")
		}
		if got := due(csr); got != c.want {
			t.Errorf("%q, issued %v: got %v", c.conditions, c.issued, got)
		}
	}
}
