package source

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/bustest/apitest"
)

const requestsPath = "/apis/certificates.k8s.io/v1/namespaces/ns/podcertificaterequests"

// signer is a cluster in which somebody decides requests.
type signer struct {
	*apitest.API
	t      *testing.T
	made   []certificatesv1.PodCertificateRequest
	refuse error
}

func newSigner(t *testing.T) *signer {
	s := &signer{API: apitest.New(), t: t}
	s.Put("/api/v1/nodes/n", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "node"}})
	s.Put("/api/v1/namespaces/ns/serviceaccounts/robot", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: "account"}})
	s.Answer(requestsPath, func(body []byte) (any, error) {
		if s.refuse != nil {
			return nil, s.refuse
		}
		var r certificatesv1.PodCertificateRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, err
		}
		r.Name = fmt.Sprint(r.GenerateName, len(s.made))
		s.made = append(s.made, r)
		return &r, nil
	})
	return s
}

// decide makes the last request issued, denied or failed.
func (s *signer) decide(condition string, refreshAt time.Time) {
	r := s.made[len(s.made)-1]
	r.Status = certificatesv1.PodCertificateRequestStatus{
		Conditions:       []metav1.Condition{{Type: condition, Status: metav1.ConditionTrue, Reason: "Why", Message: "because"}},
		CertificateChain: "a comment\n" + certificatePEM("leaf") + certificatePEM("root"),
		BeginRefreshAt:   &metav1.Time{Time: refreshAt},
	}
	s.Put(requestsPath+"/"+r.Name, &r)
	synctest.Wait()
}

// asker is a pod's projection.
type asker struct {
	*Certificates
	t    *testing.T
	told int
	pod  *corev1.Pod
	p    corev1.PodCertificateProjection
}

func newAsker(t *testing.T, ctx context.Context, s *signer) *asker {
	a := &asker{t: t, p: corev1.PodCertificateProjection{SignerName: "example.com/s", KeyType: "ED25519", UserAnnotations: map[string]string{"example.com/k": "v"}}}
	a.pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "pod"}, Spec: corev1.PodSpec{ServiceAccountName: "robot"}}
	a.Certificates = NewCertificates(ctx, s.Client("system:node:n"), "n", zap.NewNop(), func(pods []types.UID) {
		if len(pods) != 1 || pods[0] != "pod" {
			t.Errorf("told are %v", pods)
		}
		a.told++
	})
	return a
}

func (a *asker) get() (key, chain []byte, renewAt time.Time, err error) {
	return a.Certificate(a.t.Context(), a.pod, Projection{Pod: "pod", Volume: "v"}, &a.p)
}

func TestACertificateIsIssuedAndRefreshed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSigner(t)
		a := newAsker(t, ctx, s)
		defer a.Wait()
		defer cancel()
		for range 2 { // the second asks for nothing more
			if _, _, _, err := a.get(); !errors.Is(err, ErrNotIssued) {
				t.Errorf("before it is issued: %v", err)
			}
		}
		if len(s.made) != 1 {
			t.Fatalf("%d requests were made", len(s.made))
		}
		spec := s.made[0].Spec
		if spec.SignerName != "example.com/s" || spec.PodName != "p" || spec.PodUID != "pod" || spec.ServiceAccountName != "robot" || spec.ServiceAccountUID != "account" ||
			spec.NodeName != "n" || spec.NodeUID != "node" || spec.UnverifiedUserAnnotations["example.com/k"] != "v" || s.made[0].OwnerReferences[0].UID != "pod" {
			t.Errorf("the request is %+v", s.made[0])
		}
		refresh := time.Now().Add(time.Hour)
		s.decide(certificatesv1.PodCertificateRequestConditionTypeIssued, refresh)
		key, chain, renewAt, err := a.get()
		if err != nil || a.told != 1 {
			t.Fatalf("issued: %v, told %d times", err, a.told)
		}
		if string(chain) != certificatePEM("leaf")+certificatePEM("root") {
			t.Errorf("the chain is %s", chain)
		}
		if renewAt.Before(refresh) || renewAt.After(refresh.Add(refreshJitter)) {
			t.Errorf("to be asked again %v, refreshed from %v", renewAt, refresh)
		}
		block, _ := pem.Decode(key)
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		stub, err := x509.ParseCertificateRequest(spec.StubPKCS10Request)
		if err != nil || stub.CheckSignature() != nil {
			t.Fatalf("the stub: %v", err)
		}
		if public := private.(ed25519.PrivateKey).Public(); !stub.PublicKey.(ed25519.PublicKey).Equal(public) {
			t.Error("the request is for another key")
		}
		time.Sleep(time.Until(renewAt))
		old, _, soon, err := a.get()
		if err != nil || !bytes.Equal(old, key) || len(s.made) != 2 || !soon.After(time.Now()) {
			t.Errorf("while it is refreshed: %v, %d requests", err, len(s.made))
		}
		s.decide(certificatesv1.PodCertificateRequestConditionTypeIssued, time.Now().Add(time.Hour))
		if fresh, _, _, err := a.get(); err != nil || bytes.Equal(fresh, key) {
			t.Errorf("refreshed: %v, the key is the old one: %v", err, bytes.Equal(fresh, key))
		}
		if a.Forget("pod"); len(a.known) != 0 {
			t.Error("a key outlives its pod")
		}
	})
}

func TestARefusalIsFinal(t *testing.T) {
	for condition, says := range map[string]string{
		certificatesv1.PodCertificateRequestConditionTypeDenied: `PodCertificateRequest was permanently denied: reason="Why" message="because"`,
		certificatesv1.PodCertificateRequestConditionTypeFailed: `PodCertificateRequest was permanently failed: reason="Why" message="because"`,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s := newSigner(t)
			a := newAsker(t, ctx, s)
			defer a.Wait()
			defer cancel()
			_, _, _, _ = a.get() // it is asked for
			s.decide(condition, time.Now())
			for range 2 {
				if _, _, _, err := a.get(); err == nil || err.Error() != says {
					t.Errorf("got %v", err)
				}
			}
			if len(s.made) != 1 || a.told != 1 {
				t.Errorf("%d requests, told %d times", len(s.made), a.told)
			}
		})
	}
}

func TestARequestThatVanishesIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSigner(t)
		a := newAsker(t, ctx, s)
		defer a.Wait()
		defer cancel()
		_, _, _, _ = a.get() // it is asked for, and nobody ever sees it
		time.Sleep(vanished + time.Second)
		if _, _, _, err := a.get(); !errors.Is(err, ErrNotIssued) || len(s.made) != 2 {
			t.Errorf("%v, %d requests", err, len(s.made))
		}
	})
}

func TestWhatTheAPIRefusesIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSigner(t)
		a := newAsker(t, ctx, s)
		defer a.Wait()
		defer cancel()
		s.refuse = apierrors.NewForbidden(certificatesv1.Resource("podcertificaterequests"), "", errors.New("no"))
		if _, _, _, err := a.get(); err == nil || !strings.Contains(err.Error(), "while creating on API") {
			t.Errorf("got %v", err)
		}
		s.refuse = nil
		a.p.KeyType = "DSA"
		if _, _, _, err := a.get(); err == nil || !strings.Contains(err.Error(), `unknown key type "DSA"`) {
			t.Errorf("got %v", err)
		}
		a.pod.Spec.ServiceAccountName = "nobody"
		if _, _, _, err := a.get(); err == nil || !strings.Contains(err.Error(), "while fetching service account") {
			t.Errorf("got %v", err)
		}
	})
}

func TestEveryKeyTypeCanBeMade(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"} { // RSA4096 takes seconds
		if key, err := newKey(kind); err != nil || key == nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
