package pki

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		data, err := os.ReadFile(path)
		out[path[len(dir)+1:]] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func changed(a, b map[string][]byte) (names []string) {
	for name := range b {
		if !bytes.Equal(a[name], b[name]) {
			names = append(names, name)
		}
	}
	return names
}

func TestEnsureChangesOnlyWhatMustChange(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	o := Options{Dir: filepath.Join(t.TempDir(), "pki"), Names: []string{"localhost", "127.0.0.1"}, Clients: []string{"gateway"}, Now: now}
	if err := Ensure(o); err != nil {
		t.Fatal(err)
	}
	first := contents(t, o.Dir)
	if err := Ensure(o); err != nil {
		t.Fatal(err)
	}
	if got := changed(first, contents(t, o.Dir)); len(got) != 0 {
		t.Errorf("a second call changed %v", got)
	}
	o.Names = append(o.Names, "192.0.2.1")
	if err := Ensure(o); err != nil {
		t.Fatal(err)
	}
	second := contents(t, o.Dir)
	if got := changed(first, second); len(got) != 2 {
		t.Errorf("a new name changed %v, want the serving certificate and its key", got)
	}
	o.Now = now.Add(leafLife - renewBefore + time.Hour)
	if err := Ensure(o); err != nil {
		t.Fatal(err)
	}
	if got := changed(second, contents(t, o.Dir)); len(got) != 7 {
		t.Errorf("near the end of the certificates' life %v changed, want the four certificates and the keys of three", got)
	}
}

func TestFinding15AKeyIsMadeOnlyWhenThereIsNone(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for _, name := range []string{"secrets.key", "sa.key", "log.key", "bus/gateway.nk", "ca.key", "bus-ca.key"} {
		for what, spoil := range map[string]func(path string) error{
			"a loop of links": func(path string) error { return os.Symlink(filepath.Base(path), path) }, // stat says ELOOP
			"an empty file":   func(path string) error { return os.WriteFile(path, nil, 0o600) },
		} {
			t.Run(name+" is "+what, func(t *testing.T) {
				o := Options{Dir: filepath.Join(t.TempDir(), "pki"), Names: []string{"localhost"}, Clients: []string{"gateway"}, Now: now}
				if err := Ensure(o); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(o.Dir, name)
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := spoil(path); err != nil {
					t.Fatal(err)
				}
				before, _ := os.Lstat(path)
				err := Ensure(o)
				after, _ := os.Lstat(path)
				if !os.SameFile(before, after) || after.Size() != before.Size() {
					t.Errorf("it was replaced: %v", err)
				}
				if err == nil && what == "an empty file" {
					t.Error("an empty key was taken")
				}
			})
		}
	}
}

// What the file system says of a key that it cannot look for is no word that there is none.
func TestFinding15AKeyThatCannotBeLookedForIsNotMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{
		"below what is no folder":              filepath.Join(file, "sa.key"),
		"a name longer than the file system's": filepath.Join(dir, strings.Repeat("x", 300)),
	} {
		made := false
		err := ensureKey(path, func() ([]byte, error) {
			made = true
			return []byte("key"), nil
		})
		if made || err == nil || !strings.Contains(err.Error(), "looking for the key") {
			t.Errorf("%s: made %v, %v", what, made, err)
		}
	}
	if err := logKey(file); err == nil || !strings.Contains(err.Error(), "looking for the key") {
		t.Errorf("the log's: %v", err)
	}
}

func TestAnAuthorityThatLostItsCertificateKeepsItsKey(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	o := Options{Dir: filepath.Join(t.TempDir(), "pki"), Names: []string{"localhost"}, Now: now}
	if err := Ensure(o); err != nil {
		t.Fatal(err)
	}
	first := contents(t, o.Dir)
	if err := os.Remove(filepath.Join(o.Dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(o); err != nil {
		t.Fatal(err)
	}
	if got := changed(first, contents(t, o.Dir)); len(got) != 1 || got[0] != "ca.crt" {
		t.Errorf("changed are %v, want ca.crt alone", got)
	}
}

func TestALogFromBeforeTheKeyThatSignsItIsToBeAdopted(t *testing.T) {
	o := Options{Dir: filepath.Join(t.TempDir(), "pki"), Names: []string{"localhost"}, Now: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)}
	adopt := filepath.Join(o.Dir, "log.adopt")
	ensure := func() bool {
		if err := Ensure(o); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(adopt)
		return err == nil
	}
	if first, again := ensure(), ensure(); first || again {
		t.Error("a new instance would believe what nobody signed")
	}
	if err := os.Remove(filepath.Join(o.Dir, "log.key")); err != nil {
		t.Fatal(err)
	}
	if !ensure() {
		t.Error("an instance without the key would find its log empty")
	}
	if err := os.Remove(adopt); err != nil { // as the gateway does when it is done
		t.Fatal(err)
	}
	if ensure() {
		t.Error("it would be adopted again")
	}
}
