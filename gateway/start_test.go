package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/store"
	"kubus.dev/services/kit"
)

// running is a gateway over a store of its own.
type running struct {
	*Gateway
	url   string
	http  *http.Client // with the administrator's certificate
	admin *apiclient.Client
	conn  *bus.Conn
	dir   string
}

// start runs a gateway that ends with the test.
func start(t testing.TB, change ...func(*Config)) *running {
	t.Helper()
	return startOver(t, bustest.Server(t), change...)
}

// startOver runs a gateway over a store that others may use as well.
func startOver(t testing.TB, server *store.Server, change ...func(*Config)) *running {
	t.Helper()
	return startWith(t, server, func(cfg *Config) {
		for _, c := range change {
			c(cfg)
		}
	})
}

// startWith is startOver with another configuration.
func startWith(t testing.TB, server *store.Server, change func(*Config)) *running {
	t.Helper()
	return startOn(t, bustest.Connect(t, server), change)
}

// startOn is startWith over a connection.
func startOn(t testing.TB, conn *bus.Conn, change func(*Config)) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	cfg, client := certificates(t, dir)
	change(&cfg)
	trust, err := statelog.LoadTrust(cfg.Signing.KeyFile, cfg.Signing.AdoptFile)
	if err != nil {
		t.Fatal(err)
	}
	views := statelog.OpenSignedViews(ctx, conn, trust, zap.NewNop())
	p := &kit.Process{Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(), Health: kit.NewHealth(), Version: "v1.37.2+kubus.test"}
	if os.Getenv("KUBUS_TEST_LOG") != "" {
		p.Logger, _ = zap.NewDevelopment()
	}
	g, err := New(ctx, cfg, p, conn, views)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving: %v", err)
		}
		_ = views.Wait()
	})
	return &running{Gateway: g, url: "https://" + cfg.API.Listen, http: client, conn: conn, dir: dir,
		admin: apiclient.New(apiclient.Local(g), AdminUser)}
}

// freePort gives an address on which nobody listens right now.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// certificates makes a CA, a serving certificate and an administrator's.
func certificates(t testing.TB, dir string) (Config, *http.Client) {
	t.Helper()
	caKey, caTemplate := newKey(t), &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string, serial int64, subject pkix.Name, usage x509.ExtKeyUsage) tls.Certificate {
		key := newKey(t)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, caTemplate, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name+".crt"), "CERTIFICATE", der)
		keyDER, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name+".key"), "EC PRIVATE KEY", keyDER)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	write(t, filepath.Join(dir, "ca.crt"), "CERTIFICATE", caDER)
	issue("server", 2, pkix.Name{CommonName: "kubus"}, x509.ExtKeyUsageServerAuth)
	admin := issue("admin", 3, pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, x509.ExtKeyUsageClientAuth)
	issue("sa", 4, pkix.Name{CommonName: "sa"}, x509.ExtKeyUsageClientAuth)
	seal := make([]byte, 32)
	if _, err := rand.Read(seal); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "seal.key"), seal, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.API = API{Listen: freePort(t), CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"),
		ClientCAFile: filepath.Join(dir, "ca.crt"), Advertise: "192.0.2.1:6443"}
	cfg.Aggregation = Aggregation{CertFile: filepath.Join(dir, "admin.crt"), KeyFile: filepath.Join(dir, "admin.key")}
	cfg.SealKeyFile = filepath.Join(dir, "seal.key")
	cfg.ServiceAccount.KeyFile = filepath.Join(dir, "sa.key")
	pool := x509.NewCertPool()
	ca, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(ca)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{admin}}}
	t.Cleanup(transport.CloseIdleConnections)
	return cfg, &http.Client{Transport: transport, Timeout: patience}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
