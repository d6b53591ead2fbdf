// Package pki makes an instance's keys and certificates: three authorities (for the
// API, for the bus, and for the proxy that names users to other API servers), the
// API's serving certificate, the administrator's
// client certificate, the key that signs ServiceAccount tokens, the key that seals
// Secrets, and one nkey for each role on the bus.
//
// Ensure makes what is missing and renews what ends soon or lacks a name; it never
// replaces an authority, a signing key or a sealing key that is there.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kubus.dev/proto/store"
)

// Options name what the certificates are for.
type Options struct {
	Dir string // pki directory, made when missing
	// Names are the DNS names and addresses under which the API is reached.
	Names []string
	// Roles get a bus key each: Dir/bus/ROLE.nk.
	Roles []string
	Now   time.Time
}

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	renewBefore   = 60 * 24 * time.Hour
)

// Ensure makes what Options need and is not there.
func Ensure(o Options) error {
	for _, dir := range []string{o.Dir, filepath.Join(o.Dir, "bus")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the pki directory: %w", err)
		}
	}
	api, err := authority(o, "ca", "kubus API authority")
	if err != nil {
		return err
	}
	bus, err := authority(o, "bus-ca", "kubus bus authority")
	if err != nil {
		return err
	}
	if err := api.issue(o, leaf{file: "apiserver", name: "kube-apiserver", names: o.Names, usage: x509.ExtKeyUsageServerAuth}); err != nil {
		return err
	}
	if err := api.issue(o, leaf{file: "admin", name: "kubernetes-admin", group: "system:masters", usage: x509.ExtKeyUsageClientAuth}); err != nil {
		return err
	}
	front, err := authority(o, "front-proxy-ca", "kubus front proxy authority")
	if err != nil {
		return err
	}
	if err := front.issue(o, leaf{file: "front-proxy-client", name: "front-proxy-client", usage: x509.ExtKeyUsageClientAuth}); err != nil {
		return err
	}
	if err := bus.issue(o, leaf{file: "bus", name: "kubus bus", names: []string{"localhost", "127.0.0.1"}, usage: x509.ExtKeyUsageServerAuth}); err != nil {
		return err
	}
	if err := signingKey(filepath.Join(o.Dir, "sa.key")); err != nil {
		return err
	}
	if err := sealingKey(filepath.Join(o.Dir, "secrets.key")); err != nil {
		return err
	}
	for _, role := range o.Roles {
		if err := busKey(filepath.Join(o.Dir, "bus", role+".nk")); err != nil {
			return err
		}
	}
	return nil
}

type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func authority(o Options, file, name string) (*pair, error) {
	if p, err := read(o.Dir, file); err != nil || p != nil {
		return p, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		NotBefore: o.Now.Add(-time.Hour), NotAfter: o.Now.Add(authorityLife),
	}
	return sign(o.Dir, file, template, nil)
}

type leaf struct {
	file, name, group string
	names             []string
	usage             x509.ExtKeyUsage
}

func (ca *pair) issue(o Options, l leaf) error {
	old, err := read(o.Dir, l.file)
	if err != nil {
		return err
	}
	if old != nil && old.cert.NotAfter.Sub(o.Now) > renewBefore && covers(old.cert, l.names) && old.cert.CheckSignatureFrom(ca.cert) == nil {
		return nil
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: l.name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{l.usage}, BasicConstraintsValid: true,
		NotBefore: o.Now.Add(-time.Hour), NotAfter: o.Now.Add(leafLife),
	}
	if l.group != "" {
		template.Subject.Organization = []string{l.group}
	}
	for _, name := range l.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	_, err = sign(o.Dir, l.file, template, ca)
	return err
}

func covers(c *x509.Certificate, names []string) bool {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			if !slices.ContainsFunc(c.IPAddresses, ip.Equal) {
				return false
			}
		} else if !slices.Contains(c.DNSNames, name) {
			return false
		}
	}
	return true
}

// sign makes a key and its certificate and writes both; no ca: self-signed.
func sign(dir, file string, template *x509.Certificate, ca *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", file, err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", file, err)
	}
	parent := &pair{template, key}
	if ca != nil {
		parent = ca
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, &key.PublicKey, parent.key)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", file, err)
	}
	// The key first: a certificate without its key would be taken for complete.
	if err := writeKey(filepath.Join(dir, file+".key"), key); err != nil {
		return nil, err
	}
	if err := write(filepath.Join(dir, file+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", file, err)
	}
	return &pair{cert, key}, nil
}

// read gives a certificate with its key, or nil when either is missing.
func read(dir, file string) (*pair, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, file+".crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, file+".key"))
	if err != nil {
		return nil, fmt.Errorf("reading the key of %s.crt: %w", file, err)
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s.crt or its key is no PEM file: restore it from a backup", filepath.Join(dir, file))
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s.crt: %w", file, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s.key: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s.key is no ECDSA key", file)
	}
	return &pair{cert, key}, nil
}

func signingKey(file string) error {
	if exists(file) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the token signing key: %w", err)
	}
	return writeKey(file, key)
}

func sealingKey(file string) error {
	if exists(file) {
		return nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("making the sealing key: %w", err)
	}
	return write(file, key)
}

func busKey(file string) error {
	if exists(file) {
		return nil
	}
	seed, _, err := store.NewKey()
	if err != nil {
		return err
	}
	return write(file, append(seed, '\n'))
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return write(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func write(file string, data []byte) error {
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}
