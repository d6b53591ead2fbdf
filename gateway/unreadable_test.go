package gateway

import (
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

const (
	secrets = "/api/v1/namespaces/default/secrets"
	unsafe  = "?ignoreStoreReadErrorWithClusterBreakingPotential=true"
)

// TestASecretWhoseKeyIsLostCanBeDeleted follows upstream's way out of a store that
// cannot be read.
func TestASecretWhoseKeyIsLostCanBeDeleted(t *testing.T) {
	g := start(t)
	lost := proto.Key{GroupResource: proto.GroupResource{Resource: "secrets"}, Namespace: "default", Name: "lost"}
	if _, err := g.state.Commit(t.Context(), statelog.Write{Key: lost, Data: []byte(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"lost","namespace":"default","uid":"u"},"type":"Opaque","sealed":"00000000.AAAA"}`)}); err != nil {
		t.Fatal(err)
	}
	must[corev1.Secret](t, g, "POST", secrets, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "good"}})

	_, err := g.do(t, "GET", secrets, nil)
	status, _ := err.(apierrors.APIStatus)
	if status == nil || status.Status().Reason != metav1.StatusReasonStoreReadError || status.Status().Details.Causes[0].Field != "default/lost" {
		t.Errorf("a list names what cannot be read: got %v", err)
	}
	g.fails(t, metav1.StatusReasonInternalError, "", "GET", secrets+"/lost", nil)
	g.fails(t, metav1.StatusReasonInternalError, "", "DELETE", secrets+"/lost", nil)
	g.fails(t, metav1.StatusReasonConflict, "unsafe deletion is not allowed because the object is decodable from storage", "DELETE", secrets+"/good"+unsafe, nil)
	g.fails(t, metav1.StatusReasonNotFound, `secrets "none" not found`, "DELETE", secrets+"/none"+unsafe, nil)
	g.fails(t, metav1.StatusReasonInvalid, "is not allowed with DELETECOLLECTION", "DELETE", secrets+unsafe, nil)
	stranger := g.as("stranger")
	stranger.fails(t, metav1.StatusReasonForbidden, "", "DELETE", secrets+"/lost"+unsafe, nil)

	must[metav1.Status](t, g, "DELETE", secrets+"/lost"+unsafe+"&dryRun=All", nil)
	g.fails(t, metav1.StatusReasonInternalError, "", "GET", secrets+"/lost", nil)
	gone := must[metav1.Status](t, g, "DELETE", secrets+"/lost"+unsafe, nil)
	if gone.Status != metav1.StatusSuccess || gone.Code != http.StatusOK {
		t.Errorf("got %+v", gone)
	}
	if left := must[corev1.SecretList](t, g, "GET", secrets, nil); len(left.Items) != 1 || left.Items[0].Name != "good" {
		t.Errorf("%d secrets are left", len(left.Items))
	}
	must[corev1.Secret](t, g, "POST", secrets, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "lost"}})
}
