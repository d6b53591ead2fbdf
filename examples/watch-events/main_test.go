package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/store"
	"kubus.dev/services/events"
	"kubus.dev/services/kit"
)

// A bus as `kubus up` starts it, and the events service on it; the operator writes
// a version of an object, as a gateway does.
func TestItPrintsWhatChangesWithTheKeyOfRoleAutomation(t *testing.T) {
	dir := t.TempDir()
	s := startBus(t, dir)
	operator := connect(t, s, dir, store.OperatorRole.Name)
	for _, stream := range proto.StateStreams() {
		if _, err := operator.EnsureStream(t.Context(), stream, 1); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	cfg := events.Default()
	cfg.LeaderElection = false
	service := connect(t, s, dir, "events")
	go func() {
		ended <- events.Run(ctx, cfg, &kit.Process{Logger: zap.NewNop(), Health: kit.NewHealth()}, &cluster.Client{Bus: service, Log: statelog.OpenViews(ctx, operator, zap.NewNop()).Source()})
	}()
	put(t, operator, "configmaps", "first")
	for { // until the service has made the stream
		if _, err := service.StreamState(t.Context(), proto.ChangesStream.Name); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}

	r, w := io.Pipe()
	watch := func(out *io.PipeWriter, args ...string) {
		err := run(ctx, append([]string{"-data-dir", dir, "-server", s.ClientURL()}, args...), out)
		_ = out.CloseWithError(err) // who reads is not left waiting
		ended <- err
	}
	go watch(w, "-after", "0", "events.*.core.pods.>")
	lines := bufio.NewScanner(r)
	written := make(chan struct{})
	go func() { // until the watch has begun and one is seen
		defer close(written)
		for n := 0; ; n++ {
			put(t, operator, "pods", fmt.Sprint("p", n))
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}()
	if !lines.Scan() || !strings.Contains(lines.Text(), "dev.kubus.core.pods.added namespaces/default/pods/p") {
		t.Fatalf("the first line is %q, %v", lines.Text(), lines.Err())
	}
	var sequence int
	if _, err := fmt.Sscan(lines.Text(), &sequence); err != nil || sequence < 2 {
		t.Fatalf("the first line begins with no sequence: %q, %v", lines.Text(), err)
	}
	again, wAgain := io.Pipe()
	go watch(wAgain, "-after", fmt.Sprint(sequence-1))
	if second := bufio.NewScanner(again); !second.Scan() || second.Text() != lines.Text() {
		t.Errorf("begun behind %d, the first line is %q, want %q", sequence-1, second.Text(), lines.Text())
	}
	cancel()
	<-written
	_, _ = r.Close(), again.Close()
	for range 3 {
		if err := <-ended; err != nil && err != io.ErrClosedPipe {
			t.Error(err)
		}
	}
}

func put(t *testing.T, conn *bus.Conn, resource, name string) {
	key := proto.Key{GroupResource: proto.GroupResource{Resource: resource}, Namespace: "default", Name: name}
	header := bus.Header{bus.HeaderExpectLastSubjectSeq: {"0"}, proto.HeaderOperation: {proto.OperationCreate}}
	if _, err := conn.PublishStream(context.WithoutCancel(t.Context()), key.Subject(), []byte(`{"metadata":{"name":"x"}}`), header); err != nil {
		t.Error(err)
	}
}

// startBus starts a listening server with keys and certificate in dir/pki, laid out
// as in a data directory.
func startBus(t *testing.T, dir string) *store.Server {
	t.Helper()
	pki := filepath.Join(dir, "pki")
	if err := os.MkdirAll(filepath.Join(pki, "bus"), 0o700); err != nil {
		t.Fatal(err)
	}
	certify(t, pki)
	o := store.Options{Dir: filepath.Join(dir, "store"), Name: "test", Listen: "127.0.0.1:0", Logger: zap.NewNop(),
		CertFile: filepath.Join(pki, "bus-ca.crt"), KeyFile: filepath.Join(pki, "bus.key")}
	for _, role := range append(proto.Roles("n"), store.OperatorRole) {
		seed, public, err := store.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(pki, "bus", role.Name+".nk"), seed)
		o.Users = append(o.Users, store.User{PublicKey: public, Role: role})
	}
	s, err := store.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// certify makes a certificate that is its own authority.
func certify(t *testing.T, pki string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{{127, 0, 0, 1}}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(pki, "bus-ca.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, filepath.Join(pki, "bus.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, s *store.Server, dir, role string) *bus.Conn {
	t.Helper()
	pki := filepath.Join(dir, "pki")
	conn, err := bus.Connect(t.Context(), bus.Options{URL: s.ClientURL(), Name: role,
		NkeySeedFile: filepath.Join(pki, "bus", role+".nk"), CAFile: filepath.Join(pki, "bus-ca.crt")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Drain() })
	return conn
}
