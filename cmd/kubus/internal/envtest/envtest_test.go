package envtest

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"kubus.dev/cmd/kubus/internal/pki"
)

func TestTheProgramsStartKubusWithWhatTheyAreGiven(t *testing.T) {
	t.Parallel()
	odd := filepath.Join(t.TempDir(), "it's here")
	if err := os.Mkdir(odd, 0o755); err != nil {
		t.Fatal(err)
	}
	kubus := filepath.Join(odd, "kubus")
	if err := os.WriteFile(kubus, []byte("#!/bin/sh\nprintf '%s|' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	assets := filepath.Join(t.TempDir(), "a", "b")
	for range 2 { // a second time writes them anew
		if err := Write(assets, kubus, kubus); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"etcd": "envtest-etcd|--data-dir=x y|", "kube-apiserver": "envtest-apiserver|--data-dir=x y|", "kubectl": "--data-dir=x y|",
	} {
		out, err := exec.Command(filepath.Join(assets, name), "--data-dir=x y").Output()
		if err != nil || string(out) != want {
			t.Errorf("%s: got %q, %v; want %q", name, out, err, want)
		}
	}
}

func TestTheEtcdTellsTheAPIServerWhereTheStoreIs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "http://" + l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	dir := t.TempDir()
	go func() {
		done <- Etcd(ctx, EtcdFlags{DataDir: dir, ListenClientURLs: []string{at}, UnsafeNoFsync: true})
	}()
	healthy := func() bool {
		resp, err := http.Get(at + "/health")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	for deadline := time.Now().Add(10 * time.Second); !healthy(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not become healthy")
		}
	}
	got, err := storeOf(t.Context(), []string{at})
	if want := (Store{filepath.Join(dir, "kubus"), true}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ending: %v", err)
	}
}

func TestAnotherEtcdIsRefused(t *testing.T) {
	t.Parallel()
	real := httptest.NewServer(http.NotFoundHandler())
	defer real.Close()
	for name, c := range map[string]struct {
		servers []string
		want    string
	}{
		"none":     {nil, "want one, got 0"},
		"several":  {[]string{real.URL, real.URL}, "want one, got 2"},
		"upstream": {[]string{real.URL}, "is not the etcd of `kubus envtest`"},
	} {
		if _, err := storeOf(t.Context(), c.servers); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestFlagsThatDecideAreNotIgnored(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(APIServerFlags).Add(flags)
	ignored, err := Unknown(flags, []string{"--secure-port=1", "--v=4", "--allow-privileged", "true", "--etcd-servers", "http://x", "-h"})
	if err != nil || !slices.Equal(ignored, []string{"--v", "--allow-privileged"}) {
		t.Errorf("got %v, %v", ignored, err)
	}
	for _, flag := range []string{"--token-auth-file=x", "--oidc-issuer-url", "--authorization-config=y", "--encryption-provider-config=z"} {
		name, _, _ := strings.Cut(flag, "=")
		if _, err := Unknown(flags, []string{flag}); err == nil || !strings.Contains(err.Error(), name+" is not understood") {
			t.Errorf("%s: got %v", flag, err)
		}
	}
}

func TestWhatTheFlagsLeaveOutIsMade(t *testing.T) {
	t.Parallel()
	f := APIServerFlags{BindAddress: "127.0.0.1", SecurePort: 1234, CertDir: t.TempDir(), AuthorizationMode: []string{"Node", "RBAC"},
		ServiceAccountIssuer: "https://x", ServiceClusterIPRange: "10.0.0.0/24,fd00::/112"}
	c, err := f.config(t.TempDir(), pki.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for _, file := range []string{c.API.CertFile, c.API.KeyFile, c.API.ClientCAFile, c.SealKeyFile, c.ServiceAccount.KeyFile} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	if c.API.Listen != "127.0.0.1:1234" || c.SecondServiceCIDR != "fd00::/112" {
		t.Errorf("got %+v", c)
	}
	f.AuthorizationMode = []string{"AlwaysAllow"}
	if _, err := f.config(t.TempDir(), pki.Options{Now: time.Now()}); err == nil {
		t.Error("AlwaysAllow is not RBAC")
	}
}
