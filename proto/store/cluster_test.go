package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for servers on loopback.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.sign(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// server writes NAME.crt and NAME.key.
func (a *authority) server(t *testing.T, name string) {
	t.Helper()
	a.sign(t, name, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

func (a *authority) sign(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(a.file(name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// freeAddress is one on which nobody listens.
func freeAddress(t *testing.T) string { return freeAddresses(t, 1)[0] }

func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// member starts a server of a cluster with a certificate of that authority.
func member(t *testing.T, name, listen string, routes []string, ca, own *authority) *Server {
	t.Helper()
	own.server(t, name)
	_, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(context.Background(), Options{
		Dir: t.TempDir(), Name: name, Listen: "127.0.0.1:0", Users: []User{{PublicKey: public, Role: OperatorRole}}, Unsynced: true,
		Cluster: &Cluster{Name: "kubus", Listen: listen, Routes: routes, CertFile: own.file(name + ".crt"), KeyFile: own.file(name + ".key"), CAFile: ca.file("ca.crt")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func TestServersWithCertificatesAreOneCluster(t *testing.T) {
	t.Parallel()
	ca, routes := newAuthority(t), freeAddresses(t, 3)
	var servers []*Server
	for i, listen := range routes {
		servers = append(servers, member(t, fmt.Sprintf("nats-%d", i+1), listen, routes, ca, ca))
	}
	deadline := time.Now().Add(30 * time.Second)
	for _, s := range servers {
		for !s.srv.JetStreamIsCurrent() || s.srv.NumRoutes() == 0 {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not of a cluster: %d routes", s.srv.Name(), s.srv.NumRoutes())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// Whoever reaches the port of the routes is a server only by a certificate: a route may
// publish in every account.
func TestAServerOfAnotherAuthorityIsNoneOfThem(t *testing.T) {
	t.Parallel()
	ca, other, routes := newAuthority(t), newAuthority(t), freeAddresses(t, 2)
	honest := member(t, "nats-1", routes[0], routes, ca, ca)
	member(t, "stranger", routes[1], routes, ca, other) // trusts everybody, and is trusted by nobody
	deadline := time.Now().Add(2 * time.Second)
	for time.Now().Before(deadline) {
		if n := honest.srv.NumRoutes(); n != 0 {
			t.Fatalf("the stranger has %d routes", n)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestAClusterNeedsAllThatItsServersKnowEachOtherBy(t *testing.T) {
	t.Parallel()
	whole := Cluster{Name: "kubus", Listen: "127.0.0.1:6222", Routes: []string{"a:6222"}, CertFile: "c", KeyFile: "k", CAFile: "a"}
	for what, change := range map[string]func(*Cluster){
		"a name": func(c *Cluster) { c.Name = "" }, "an address": func(c *Cluster) { c.Listen = "" }, "routes": func(c *Cluster) { c.Routes = nil },
		"certificates": func(c *Cluster) { c.CAFile = "" }, "certificates:": func(c *Cluster) { c.KeyFile = "" },
	} {
		c := whole
		change(&c)
		o := Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Users: []User{{Role: OperatorRole}}, Cluster: &c}
		if _, err := Start(context.Background(), o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("without %s: %v", what, err)
		}
	}
	// One that takes no connections never starts.
	if _, err := Start(context.Background(), Options{Dir: t.TempDir(), Cluster: &whole}); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("without a listening address: %v", err)
	}
}
