package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/kubeconfig"
	"kubus.dev/cmd/kubus/internal/pki"
)

func TestACommandRenewsTheCertificateWhereTheClusterIsStillNamed(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	i := &instance.Instance{Dir: dir, Listen: "127.0.0.1:6443", Context: "kubus"}
	if err := pki.Ensure(pki.Options{Dir: i.Path("pki"), Names: []string{"localhost"}, Now: now}); err != nil {
		t.Fatal(err)
	}
	own, err := entry(i, "kubus")
	if err != nil {
		t.Fatal(err)
	}
	other := own
	other.CA = []byte("another cluster's")
	for name, e := range map[string]*kubeconfig.Entry{"user": &own, "others": &other, "removed": nil} {
		i.Kubeconfigs = append(i.Kubeconfigs, filepath.Join(dir, name))
		if e == nil {
			continue
		}
		if _, err := kubeconfig.Merge(filepath.Join(dir, name), *e, -1, -1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kubeconfig.Merge(i.AdminConfig(), own, -1, -1); err != nil {
		t.Fatal(err)
	}
	has := func(file string) string {
		data, err := os.ReadFile(file)
		if err != nil {
			return ""
		}
		_, rest, _ := strings.Cut(string(data), "client-certificate-data: ")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	first := has(i.AdminConfig())
	if err := renew(i, now.Add(time.Hour)); err != nil || has(i.AdminConfig()) != first {
		t.Errorf("after an hour: %v, or another one", err)
	}
	if err := renew(i, now.Add(5*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	second := has(i.AdminConfig())
	if second == "" || second == first {
		t.Error("after five days it is the old one")
	}
	for name, want := range map[string]string{"user": second, "others": first, "removed": ""} {
		if got := has(filepath.Join(dir, name)); got != want {
			t.Errorf("%s has %.20s, want %.20s", name, got, want)
		}
	}
}
