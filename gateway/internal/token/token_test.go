package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/kubernetes/pkg/apis/authentication"

	"kubus.dev/gateway/internal/token"
	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
)

const issuerURL = "https://kubernetes.default.svc.cluster.local"

func start(t *testing.T, change ...func(*token.Options)) (*statelog.Log, *token.Issuer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	conn := bustest.Start(t)
	views := statelog.OpenViews(ctx, conn, zap.NewNop())
	log, err := statelog.OpenLog(ctx, conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := views.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sa.key")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	options := token.Options{KeyFile: path, Issuer: issuerURL, Address: "10.0.0.1:6443", View: log.View}
	for _, c := range change {
		c(&options)
	}
	issuer, err := token.NewIssuer(options)
	if err != nil {
		t.Fatal(err)
	}
	put(t, log, "serviceaccounts", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "sa", UID: "sa-uid"}})
	put(t, log, "nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "n-uid"}})
	put(t, log, "pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: "p-uid"}, Spec: corev1.PodSpec{ServiceAccountName: "sa", NodeName: "n"}})
	put(t, log, "pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "other", UID: "o-uid"}, Spec: corev1.PodSpec{ServiceAccountName: "default"}})
	return log, issuer
}

func put(t *testing.T, log *statelog.Log, resource string, obj metav1.Object) {
	t.Helper()
	data, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	key := proto.Key{GroupResource: proto.GroupResource{Resource: resource}, Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if _, err := log.Commit(t.Context(), statelog.Write{Key: key, Data: data}); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, log *statelog.Log, resource, ns, name string) {
	t.Helper()
	gr := proto.GroupResource{Resource: resource}
	e := log.View(gr).Get(gr, ns, name)
	if _, err := log.Commit(t.Context(), statelog.Write{Key: e.Key(), Expect: e.Revision(), Data: e.Data(), Delete: true}); err != nil {
		t.Fatal(err)
	}
}

func ask(t *testing.T, issuer *token.Issuer, name string, change func(*authentication.TokenRequest)) (*authentication.TokenRequest, error) {
	t.Helper()
	req := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{ExpirationSeconds: 3600}}
	if change != nil {
		change(req)
	}
	out, err := issuer.Request().Create(request.WithNamespace(t.Context(), "a"), name, req, nil, nil)
	if err != nil {
		return nil, err
	}
	return out.(*authentication.TokenRequest), nil
}

func bind(kind, name string) func(*authentication.TokenRequest) {
	return func(r *authentication.TokenRequest) {
		r.Spec.BoundObjectRef = &authentication.BoundObjectReference{Kind: kind, APIVersion: "v1", Name: name}
	}
}

func TestATokenProvesItsAccountAndDiesWithItsPod(t *testing.T) {
	log, issuer := start(t)
	made, err := ask(t, issuer, "sa", bind("Pod", "p"))
	if err != nil {
		t.Fatal(err)
	}
	check := issuer.Authenticator()
	resp, ok, err := check.AuthenticateToken(t.Context(), made.Status.Token)
	if !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	u := resp.User
	if u.GetName() != "system:serviceaccount:a:sa" || u.GetUID() != "sa-uid" || !slices.Contains(u.GetGroups(), "system:serviceaccounts:a") {
		t.Errorf("got %+v", u)
	}
	for key, want := range map[string]string{
		"authentication.kubernetes.io/pod-name": "p", "authentication.kubernetes.io/pod-uid": "p-uid",
		"authentication.kubernetes.io/node-name": "n", "authentication.kubernetes.io/node-uid": "n-uid",
	} {
		if got := u.GetExtra()[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %v, want %s", key, got, want)
		}
	}
	remove(t, log, "pods", "a", "p")
	if _, ok, err := check.AuthenticateToken(t.Context(), made.Status.Token); ok || err == nil {
		t.Errorf("the token outlived its pod: %v, %v", ok, err)
	}
}

func TestATokenIsForItsAudience(t *testing.T) {
	_, issuer := start(t)
	made, err := ask(t, issuer, "sa", func(r *authentication.TokenRequest) { r.Spec.Audiences = []string{"vault"} })
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := issuer.Authenticator().AuthenticateToken(t.Context(), made.Status.Token); ok {
		t.Error("a token for somebody else opened the API")
	}
	ctx := authenticator.WithAudiences(t.Context(), []string{"vault"})
	if _, ok, err := issuer.Authenticator().AuthenticateToken(ctx, made.Status.Token); !ok {
		t.Errorf("the token is not good for its own audience: %v", err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	_, issuer := start(t)
	for name, c := range map[string]struct {
		account string
		change  func(*authentication.TokenRequest)
		want    string
	}{
		"no such account":       {"nope", nil, `serviceaccounts "nope" not found`},
		"another's pod":         {"sa", bind("Pod", "other"), `cannot bind token for serviceaccount "sa" to pod running with different serviceaccount name`},
		"no such pod":           {"sa", bind("Pod", "gone"), `pods "gone" not found`},
		"too short":             {"sa", func(r *authentication.TokenRequest) { r.Spec.ExpirationSeconds = 5 }, "may not specify a duration less than 10 minutes"},
		"the wrong UID":         {"sa", func(r *authentication.TokenRequest) { r.UID = "x" }, "does not match the UID of the service account"},
		"a pod of another time": {"sa", func(r *authentication.TokenRequest) { bind("Pod", "p")(r); r.Spec.BoundObjectRef.UID = "x" }, "does not match the UID in record"},
		"an unknown kind":       {"sa", bind("Toaster", "p"), "cannot bind token to object of type"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ask(t, issuer, c.account, c.change); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestDiscoveryNamesTheIssuer(t *testing.T) {
	_, issuer := start(t)
	for path, want := range map[string]string{
		"/.well-known/openid-configuration": `"jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks"`,
		"/openid/v1/jwks":                   `"alg":"ES256"`,
	} {
		rec := httptest.NewRecorder()
		issuer.Routes()[path].ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: got %s", path, rec.Body)
		}
	}
}
