package controllers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// authority makes certificates for upstream's programs.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes one, DIR/ca.crt and DIR/ca.key.
func newAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir, cert: &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, Subject: pkix.Name{CommonName: "upstream-ca"},
	}}
	return a, a.issue("ca", a.cert)
}

// issue writes NAME.crt and NAME.key.
func (a *authority) issue(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if a.key == nil {
		a.key = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	cert, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return errors.Join(
		a.write(name+".crt", "CERTIFICATE", cert),
		a.write(name+".key", "EC PRIVATE KEY", private),
		a.write(name+".pub", "PUBLIC KEY", public),
	)
}

func (a *authority) write(name, kind string, data []byte) error {
	return os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600)
}

// all makes what kube-apiserver and kube-controller-manager need.
func (a *authority) all() error {
	client := func(name string, subject pkix.Name) error {
		return a.issue(name, &x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	return errors.Join(
		a.issue("server", &x509.Certificate{
			Subject: pkix.Name{CommonName: "kube-apiserver"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)},
			DNSNames: []string{"localhost", "kubernetes.default.svc"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}),
		client("admin", pkix.Name{CommonName: "kubernetes-admin", Organization: []string{"system:masters"}}),
		client("manager", pkix.Name{CommonName: "system:kube-controller-manager"}),
		a.issue("accounts", &x509.Certificate{Subject: pkix.Name{CommonName: "accounts"}}),
	)
}

// kubeconfig writes NAME.kubeconfig for a client whose certificate was issued.
func (a *authority) kubeconfig(name, server string) (string, error) {
	file := filepath.Join(a.dir, name+".kubeconfig")
	return file, os.WriteFile(file, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %[2]s/ca.crt}}]
users: [{name: u, user: {client-certificate: %[2]s/%[3]s.crt, client-key: %[2]s/%[3]s.key}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, server, a.dir, name), 0o600)
}
