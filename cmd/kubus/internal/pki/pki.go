// Package pki makes an instance's keys and certificates: three authorities (for the
// API, for the bus, and for the proxy that names users to other API servers), the
// API's serving certificate, the administrator's
// client certificate, the key that signs ServiceAccount tokens, the key that seals
// Secrets, the one that signs the state log, and one nkey for each client of the bus.
//
// Ensure makes what is missing and renews what ends soon or lacks a name; it never
// replaces an authority, a signing key or a sealing key that is there. What cannot
// be looked at is not missing: Ensure then stops with the error and makes nothing in
// its place. A key that was made is on the disk when Ensure returns.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
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
	"kubus.dev/services/kit/file"
)

// Options name what the certificates are for.
type Options struct {
	Dir string // pki directory, made when missing
	// Names are the DNS names and addresses under which the API is reached.
	Names []string
	// BusNames are those of the bus beside loopback's.
	BusNames []string
	// Clients of the bus get a key each: Dir/bus/CLIENT.nk.
	Clients []string
	// Servers that are the bus together have a certificate each, bus-SERVER, by which clients
	// know them under that name, and they each other.
	Servers []string
	Now     time.Time
}

// APINames are the names and addresses that every API server has in its certificate: those
// by which pods reach it at its Service's address, and loopback's.
func APINames(serviceIP string) []string {
	return []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"localhost", "127.0.0.1", serviceIP,
	}
}

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	renewBefore   = 60 * 24 * time.Hour
	// The administrator's cannot be revoked: it lives short, and commands renew it.
	adminLife        = 7 * 24 * time.Hour
	adminRenewBefore = adminLife / 2
)

// Ensure makes what Options need and is not there.
func Ensure(o Options) error {
	for _, dir := range []string{o.Dir, filepath.Join(o.Dir, "bus")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the pki directory: %w", err)
		}
	}
	if err := logKey(o.Dir); err != nil {
		return err
	}
	api, err := authority(o, "ca", "kubus API authority")
	if err != nil {
		return err
	}
	bus, err := authority(o, "bus-ca", "kubus bus authority")
	if err != nil {
		return err
	}
	if _, err := api.issue(o, leaf{file: "apiserver", name: "kube-apiserver", names: o.Names, usage: x509.ExtKeyUsageServerAuth}); err != nil {
		return err
	}
	if _, err := api.issue(o, admin); err != nil {
		return err
	}
	front, err := authority(o, "front-proxy-ca", "kubus front proxy authority")
	if err != nil {
		return err
	}
	if _, err := front.issue(o, leaf{file: "front-proxy-client", name: "front-proxy-client", usage: x509.ExtKeyUsageClientAuth}); err != nil {
		return err
	}
	if _, err := bus.issue(o, leaf{file: "bus", name: "kubus bus", names: append([]string{"localhost", "127.0.0.1"}, o.BusNames...), usage: x509.ExtKeyUsageServerAuth}); err != nil {
		return err
	}
	for _, server := range o.Servers {
		names := append([]string{server, "localhost", "127.0.0.1"}, o.BusNames...)
		if _, err := bus.issue(o, leaf{file: "bus-" + server, name: server, names: names, usage: x509.ExtKeyUsageServerAuth, mutual: true}); err != nil {
			return err
		}
	}
	if err := signingKey(filepath.Join(o.Dir, "sa.key")); err != nil {
		return err
	}
	if err := sealingKey(filepath.Join(o.Dir, "secrets.key")); err != nil {
		return err
	}
	for _, client := range o.Clients {
		if err := busKey(filepath.Join(o.Dir, "bus", client+".nk")); err != nil {
			return err
		}
	}
	return nil
}

// admin is the administrator's certificate. Its key stays, so that a renewal is one file.
var admin = leaf{
	file: "admin", name: "kubernetes-admin", group: "system:masters", usage: x509.ExtKeyUsageClientAuth,
	life: adminLife, renewBefore: adminRenewBefore, keepsKey: true,
}

// RenewAdmin renews the administrator's certificate of an instance that has one, when half
// of its life is over, and tells whether it did.
func RenewAdmin(dir string, now time.Time) (renewed bool, err error) {
	ca, err := read(dir, "ca")
	if err != nil {
		return false, err
	}
	if ca == nil {
		return false, fmt.Errorf("renewing the administrator's certificate: %w", &fs.PathError{Op: "open", Path: filepath.Join(dir, "ca.crt"), Err: fs.ErrNotExist})
	}
	return ca.issue(Options{Dir: dir, Now: now}, admin)
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
	key, err := readKey(o.Dir, file)
	if errors.Is(err, fs.ErrNotExist) {
		return sign(o.Dir, file, template, nil)
	}
	if err != nil {
		return nil, err
	}
	return certify(o.Dir, file, template, key, nil) // what the key has signed stays valid
}

type leaf struct {
	file, name, group string
	names             []string
	usage             x509.ExtKeyUsage
	mutual            bool          // to be shown as a client too
	life, renewBefore time.Duration // 0: the usual ones
	keepsKey          bool
}

// issue makes a certificate where there is none that is good for long enough, but no longer
// than it may be.
func (ca *pair) issue(o Options, l leaf) (issued bool, err error) {
	if l.life == 0 {
		l.life, l.renewBefore = leafLife, renewBefore
	}
	old, err := read(o.Dir, l.file)
	if err != nil {
		return false, err
	}
	if old != nil {
		left := old.cert.NotAfter.Sub(o.Now)
		if left > l.renewBefore && left <= l.life && covers(old.cert, l.names) && old.cert.CheckSignatureFrom(ca.cert) == nil {
			return false, nil
		}
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: l.name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{l.usage}, BasicConstraintsValid: true,
		NotBefore: o.Now.Add(-time.Hour), NotAfter: o.Now.Add(l.life),
	}
	if l.mutual {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
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
	if old != nil && l.keepsKey {
		_, err = certify(o.Dir, l.file, template, old.key, ca)
	} else {
		_, err = sign(o.Dir, l.file, template, ca)
	}
	return err == nil, err
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
	data, err := encodeKey(key)
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", file, err)
	}
	// The key first: a certificate without its key would be taken for complete.
	write := replace
	if ca == nil {
		write = create
	}
	if err := write(filepath.Join(dir, file+".key"), data); err != nil {
		return nil, err
	}
	return certify(dir, file, template, key, ca)
}

// certify makes a key's certificate and writes it.
func certify(dir, file string, template *x509.Certificate, key *ecdsa.PrivateKey, ca *pair) (*pair, error) {
	var err error
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
	if err := replace(filepath.Join(dir, file+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of %s: %w", file, err)
	}
	return &pair{cert, key}, nil
}

// read gives a certificate with its key, or nil when there is no certificate.
func read(dir, file string) (*pair, error) {
	certPEM, err := os.ReadFile(filepath.Join(dir, file+".crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	key, err := readKey(dir, file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return nil, fmt.Errorf("%s.crt is no PEM file: restore it from a backup", filepath.Join(dir, file))
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s.crt: %w", file, err)
	}
	return &pair{cert, key}, nil
}

func readKey(dir, file string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(filepath.Join(dir, file+".key"))
	if err != nil {
		return nil, fmt.Errorf("reading the key of %s.crt: %w", file, err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s.key is no PEM file: restore it from a backup", filepath.Join(dir, file))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading %s.key: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s.key is no ECDSA key", file)
	}
	return key, nil
}

func signingKey(file string) error {
	return ensureKey(file, func() ([]byte, error) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return encodeKey(key)
	})
}

func sealingKey(file string) error {
	return ensureKey(file, func() ([]byte, error) {
		key := make([]byte, 32)
		_, err := rand.Read(key)
		return key, err
	})
}

// logKey makes the key that signs the log, as a file to which others can be added. Where
// there are keys from before there was this one, so there is a log, which is to be adopted.
func logKey(dir string) error {
	file, older := filepath.Join(dir, "log.key"), filepath.Join(dir, "secrets.key")
	_, err := os.Lstat(file)
	_, olderErr := os.Lstat(older)
	if olderErr != nil && !errors.Is(olderErr, fs.ErrNotExist) {
		return fmt.Errorf("looking for the key %s: %w", older, olderErr)
	}
	if errors.Is(err, fs.ErrNotExist) && olderErr == nil {
		if err := replace(filepath.Join(dir, "log.adopt"), nil); err != nil {
			return err
		}
	}
	return ensureKey(file, newLogKey)
}

func newLogKey() ([]byte, error) {
	key := make([]byte, 32)
	_, err := rand.Read(key)
	return append(base64.StdEncoding.AppendEncode(nil, key), '\n'), err
}

func busKey(file string) error {
	return ensureKey(file, func() ([]byte, error) {
		seed, _, err := store.NewKey()
		return append(seed, '\n'), err
	})
}

// ensureKey makes a key that is not there; only the file system's word that there is no such file counts as that.
func ensureKey(file string, key func() ([]byte, error)) error {
	info, err := os.Lstat(file)
	if err == nil {
		if info.Size() == 0 { // cut off by a power loss of an older version, or damaged: not for us to judge
			return fmt.Errorf("the key %s is empty: restore it from a backup", file)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("looking for the key %s: %w", file, err)
	}
	data, err := key()
	if err != nil {
		return fmt.Errorf("making the key %s: %w", file, err)
	}
	return create(file, data)
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// create writes a durable file that must not be there yet: whoever came first stays.
func create(path string, data []byte) error { return written(path, file.Create(path, data, 0o600)) }

// replace writes a durable file in one step.
func replace(path string, data []byte) error {
	return written(path, file.ReplaceDurably(path, data, 0o600))
}

func written(path string, err error) error {
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
