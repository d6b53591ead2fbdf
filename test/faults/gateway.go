package faults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// gateway is one kubus-gateway and the way that its clients take.
type gateway struct {
	*process
	address string
	tls     *tls.Config
	way     *proxy // to the store
}

// trust is what all gateways of a cluster and their clients share.
type trust struct {
	dir    string
	ca     *x509.CertPool
	client tls.Certificate
}

// newTrust makes the keys that docs/alone.md makes with openssl.
func newTrust(t testing.TB, dir string) *trust {
	t.Helper()
	caKey, caCert := certificate(t, dir, "ca", nil, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	certificate(t, dir, "api", caKey, caCert, &x509.Certificate{Subject: pkix.Name{CommonName: "api"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	certificate(t, dir, "admin", caKey, caCert, &x509.Certificate{Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	certificate(t, dir, "sa", nil, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "sa"}})
	for _, name := range []string{"seal.key", "log.key"} {
		secret := make([]byte, 32)
		if _, err := rand.Read(secret); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), []byte(base64.StdEncoding.EncodeToString(secret)))
	}
	out := &trust{dir: dir, ca: x509.NewCertPool()}
	out.ca.AddCert(caCert)
	var err error
	if out.client, err = tls.LoadX509KeyPair(filepath.Join(dir, "admin.crt"), filepath.Join(dir, "admin.key")); err != nil {
		t.Fatal(err)
	}
	return out
}

func certificate(t testing.TB, dir, name string, caKey *ecdsa.PrivateKey, ca, template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if ca == nil {
		caKey, ca = key, template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, made
}

func write(t testing.TB, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// startGateway starts a gateway that reaches the stores by a way of its own.
func startGateway(t testing.TB, name string, tr *trust, s stores) *gateway {
	t.Helper()
	g := &gateway{address: freeAddress(t), way: newProxy(t, s.urls())}
	g.tls = &tls.Config{RootCAs: tr.ca, Certificates: []tls.Certificate{tr.client}, MinVersion: tls.VersionTLS12}
	dir := tr.dir
	text := fmt.Sprintf(`bus: {url: %q}
api: {listen: %q, certFile: %[3]q, keyFile: %[4]q, clientCAFile: %[5]q}
replicas: %[6]d
sealKeyFile: %[7]q
signing: {keyFile: %[8]q}
serviceAccount: {keyFile: %[9]q}
`, "nats://"+strings.Join(g.way.addresses(), ",nats://"), g.address, filepath.Join(dir, "api.crt"), filepath.Join(dir, "api.key"),
		filepath.Join(dir, "ca.crt"), len(s), filepath.Join(dir, "seal.key"), filepath.Join(dir, "log.key"), filepath.Join(dir, "sa.key"))
	file := filepath.Join(dir, name+".yaml")
	write(t, file, []byte(text))
	client := g.client()
	g.process = launch(t, name, dir, func() error { return answers(client, "https://"+g.address+"/readyz") }, program(t, "kubus-gateway"), "-config", file)
	return g
}

// client gives a client with connections of its own. A request without an answer ends.
func (g *gateway) client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: g.tls.Clone(), DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, MaxIdleConnsPerHost: 2}}
}
