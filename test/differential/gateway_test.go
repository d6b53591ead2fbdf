package differential

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var binDir = flag.String("bin", "../../bin", "folder of kubus-gateway, nats-server and kubectl (make build)")

// startGateway runs nats-server and kubus-gateway on loopback until the test ends:
// no controllers, so that nothing changes but what a step changes.
func startGateway(t *testing.T) (server *Server, kubeconfig string) {
	t.Helper()
	for _, program := range []string{"nats-server", "kubus-gateway", "kubectl"} {
		if _, err := os.Stat(filepath.Join(*binDir, program)); err != nil {
			if promised() {
				t.Fatalf("%s is missing: make build", program)
			}
			t.Skipf("%s is missing: make build", program)
		}
	}
	dir := t.TempDir()
	bus, api := freeAddress(t), freeAddress(t)
	makeKeys(t, dir)
	file := func(name, format string, a ...any) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, fmt.Appendf(nil, format, a...), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run(t, "nats-server", "-c", file("nats.conf", "listen: %s\nmax_payload: 8MB\njetstream { store_dir: %q }\n", bus, filepath.Join(dir, "store")))
	run(t, "kubus-gateway", "-config", file("gateway.yaml", `
bus: {url: "nats://%s"}
api: {listen: %q, certFile: %[3]s/api.crt, keyFile: %[3]s/api.key, clientCAFile: %[3]s/ca.crt}
sealKeyFile: %[3]s/seal.key
serviceAccount: {keyFile: %[3]s/api.key, issuer: "https://kubernetes.default.svc"}
`, bus, api, dir))
	kubeconfig = file("kubeconfig", `
apiVersion: v1
kind: Config
current-context: x
contexts: [{name: x, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://%s", certificate-authority: %[2]s/ca.crt}}]
users: [{name: u, user: {client-certificate: %[2]s/admin.crt, client-key: %[2]s/admin.key}}]
`, api, dir)
	server, err := Connect(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		_, err := server.Fetch(t.Context(), "/readyz", "")
		if err == nil {
			return server, kubeconfig
		}
		if time.Now().After(deadline) {
			t.Fatalf("the gateway does not become ready: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// run starts a program that ends with the test; what it printed shows if that failed.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), program+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(*binDir, program), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end
		_ = log.Close()
		if t.Failed() {
			data, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", program, data)
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// makeKeys makes an authority, a serving certificate, an administrator's, and the key
// that seals Secrets.
func makeKeys(t *testing.T, dir string) {
	t.Helper()
	write := func(name, kind string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var caKey *ecdsa.PrivateKey
	issue := func(name string, subject pkix.Name, template *x509.Certificate) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if caKey == nil {
			caKey = key
		}
		template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), subject
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		cert, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".crt", "CERTIFICATE", cert)
		data, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".key", "EC PRIVATE KEY", data)
	}
	issue("ca", pkix.Name{CommonName: "ca"}, ca)
	issue("api", pkix.Name{CommonName: "api"}, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	issue("admin", pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	seal := make([]byte, 32)
	if _, err := rand.Read(seal); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "seal.key"), seal, 0o600); err != nil {
		t.Fatal(err)
	}
}
