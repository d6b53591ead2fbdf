package certificate

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// api reviews access and takes changes of requests, which the mirror then shows.
type api struct {
	world    *mirror.World
	revision uint64
	allowed  string // the subresource that everybody may create
}

func (a *api) Do(context.Context, apiclient.Request) ([]byte, error) { return nil, os.ErrInvalid }

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	results := make([]apiclient.Result, len(requests))
	for i, r := range requests {
		switch {
		case strings.HasSuffix(r.Path, "/subjectaccessreviews"):
			review := &authorizationv1.SubjectAccessReview{}
			if err := json.Unmarshal(r.Body, review); err != nil {
				return nil, err
			}
			review.Status.Allowed = review.Spec.ResourceAttributes.Subresource == a.allowed
			results[i].Body, _ = json.Marshal(review)
		case r.Method == "DELETE":
			a.revision++
			a.world.CertificateSigningRequests.Drop(a.revision, "", filepath.Base(r.Path))
		default:
			csr := &certificatesv1.CertificateSigningRequest{}
			if err := json.Unmarshal(r.Body, csr); err != nil {
				return nil, err
			}
			for j := range csr.Status.Conditions { // as the API's strategy does
				if csr.Status.Conditions[j].LastUpdateTime.IsZero() {
					csr.Status.Conditions[j].LastUpdateTime = metav1.Now()
				}
			}
			a.put(csr)
			results[i].Body, _ = json.Marshal(csr)
		}
	}
	return results, nil
}

func (a *api) put(csr *certificatesv1.CertificateSigningRequest) {
	a.revision++
	csr.ResourceVersion = fmt.Sprint(a.revision)
	a.world.CertificateSigningRequests.Put(a.revision, csr)
}

func (a *api) get() *certificatesv1.CertificateSigningRequest {
	return a.world.CertificateSigningRequests.Get("", "r")
}

// play runs all three controllers in made-up time, with a CA.
func play(t *testing.T, act func(a *api, ca testCA)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ca := newCA(t, time.Now().Add(10*lifetime))
		a := &api{world: mirror.NewWorld()}
		settings := &frame.Settings{SigningCertFile: ca.files[0], SigningKeyFile: ca.files[1]}
		ended := make(chan error, 3)
		for _, d := range []frame.Definition{Approver(), Signer(), Cleaner()} {
			loop, err := d.Make(frame.NewEnv(d.Name, "", a.world, write.New(a, nil), settings, zap.NewNop()))
			if err != nil {
				t.Fatal(err)
			}
			go func() { ended <- loop.Run(ctx, 1) }()
		}
		act(a, ca)
		cancel()
		for range 3 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAKubeletGetsItsCertificateAndTheRequestGoes(t *testing.T) {
	play(t, func(a *api, ca testCA) {
		a.allowed = "selfnodeclient"
		csr := newCSR(t, certificatesv1.KubeAPIServerClientKubeletSignerName, "system:nodes/system:node:n", "digital signature,client auth")
		csr.Spec.Username, csr.CreationTimestamp = "system:node:n", metav1.Now()
		a.put(csr)
		synctest.Wait()
		got := a.get()
		if c := got.Status.Conditions; len(c) != 1 || c[0].Reason != "AutoApproved" || c[0].Message != "Auto approving self kubelet client certificate after SubjectAccessReview." {
			t.Fatalf("conditions: %+v", got.Status.Conditions)
		}
		block, _ := pem.Decode(got.Status.Certificate)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := cert.CheckSignatureFrom(ca.certificate); err != nil || cert.Subject.CommonName != "system:node:n" {
			t.Errorf("for %s: %v", cert.Subject, err)
		}
		time.Sleep(keptSettled - time.Second)
		if a.get() == nil {
			t.Error("deleted too early")
		}
		time.Sleep(2 * time.Second)
		if a.get() != nil {
			t.Error("kept too long")
		}
	})
}

func TestARightThatComesLaterIsUsed(t *testing.T) {
	play(t, func(a *api, _ testCA) {
		csr := newCSR(t, certificatesv1.KubeAPIServerClientKubeletSignerName, "system:nodes/system:node:n", "digital signature,client auth")
		csr.Spec.Username, csr.CreationTimestamp = "system:bootstrap:abcdef", metav1.Now()
		a.put(csr)
		time.Sleep(time.Minute)
		if len(a.get().Status.Conditions) > 0 {
			t.Fatalf("approved without the right: %+v", a.get().Status.Conditions)
		}
		a.allowed = "nodeclient"
		time.Sleep(5 * time.Minute)
		if len(a.get().Status.Certificate) == 0 {
			t.Errorf("not signed: %+v", a.get().Status.Conditions)
		}
	})
}

func TestWhatItsSignerDoesNotSignFails(t *testing.T) {
	play(t, func(a *api, _ testCA) {
		csr := newCSR(t, certificatesv1.KubeAPIServerClientSignerName, "team/jane", "server auth")
		csr.CreationTimestamp = metav1.Now()
		csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, LastUpdateTime: metav1.Now()}}
		a.put(csr)
		synctest.Wait()
		c := a.get().Status.Conditions
		if len(c) != 2 || c[1].Type != certificatesv1.CertificateFailed || c[1].Reason != "SignerValidationFailure" || c[1].Message != "invalid usage for client certificate: server auth" || len(a.get().Status.Certificate) > 0 {
			t.Errorf("got %+v", a.get().Status)
		}
	})
}

func TestWithoutACANothingIsSigned(t *testing.T) {
	t.Parallel()
	loop, err := Signer().Make(frame.NewEnv("x", "", mirror.NewWorld(), write.New(&api{}, nil), &frame.Settings{}, zap.NewNop()))
	if loop != nil || err != nil {
		t.Errorf("got %v, %v", loop, err)
	}
}
