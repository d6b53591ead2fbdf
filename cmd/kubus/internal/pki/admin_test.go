package pki

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestTheAdministratorsCertificateLivesShortAndIsRenewedInTime(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	o := Options{Dir: filepath.Join(t.TempDir(), "pki"), Names: []string{"localhost"}, Now: now}
	if err := Ensure(o); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after   time.Duration // since the one before
		renewed bool
	}{
		{time.Hour, false},
		{adminLife/2 - 2*time.Hour, false},
		{2 * time.Hour, true},
		{time.Hour, false},
		{adminLife, true}, // nobody asked for it in time
	} {
		now = now.Add(c.after)
		before := contents(t, o.Dir)
		renewed, err := RenewAdmin(o.Dir, now)
		if err != nil || renewed != c.renewed {
			t.Fatalf("%v later: renewed %v, %v", c.after, renewed, err)
		}
		if got := changed(before, contents(t, o.Dir)); renewed && (len(got) != 1 || got[0] != "admin.crt") || !renewed && len(got) > 0 {
			t.Errorf("%v later: changed are %v", c.after, got)
		}
		p, err := read(o.Dir, "admin")
		if err != nil {
			t.Fatal(err)
		}
		if left := p.cert.NotAfter.Sub(now); left <= 0 || left > 7*24*time.Hour {
			t.Errorf("%v later: it is good for %v", c.after, left)
		}
		ca, err := read(o.Dir, "ca")
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		if _, err := p.cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil || !p.key.PublicKey.Equal(p.cert.PublicKey) {
			t.Errorf("%v later: it is of no use: %v", c.after, err)
		}
	}
}

func TestACertificateOfAYearBecomesAShortOne(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	o := Options{Dir: filepath.Join(t.TempDir(), "pki"), Names: []string{"localhost"}, Now: now}
	if err := Ensure(o); err != nil {
		t.Fatal(err)
	}
	ca, err := read(o.Dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	older := admin // as versions before had it
	older.life, older.renewBefore = leafLife, leafLife
	if issued, err := ca.issue(o, older); !issued || err != nil {
		t.Fatal(issued, err)
	}
	if renewed, err := RenewAdmin(o.Dir, now); !renewed || err != nil {
		t.Errorf("renewed %v, %v", renewed, err)
	}
}

func TestWithoutAnAuthorityNothingIsRenewed(t *testing.T) {
	dir := t.TempDir()
	if renewed, err := RenewAdmin(dir, time.Now()); renewed || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, %v", renewed, err)
	}
	if there, _ := os.ReadDir(dir); len(there) > 0 {
		t.Errorf("it made %v", there)
	}
}
