package gateway

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// without is a client that has no certificate, and a token where there is one.
func (g *running) without(t *testing.T, token, path string) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: g.http.Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestWhoSaysNothingMayDoWhatRBACGivesToAnonymous(t *testing.T) {
	g := start(t)
	for path, c := range map[string]struct {
		code int
		body string
	}{
		"/livez":       {200, "ok"},
		"/readyz":      {200, "ok"},
		"/version":     {200, `"gitVersion": "v1.37.2+kubus.test"`},
		"/api":         {403, `forbidden: User \"system:anonymous\" cannot get path \"/api\"`},
		"/metrics":     {403, `User \"system:anonymous\" cannot get path \"/metrics\"`},
		"/livez/ping":  {403, `cannot get path`},
		"/api/v1/pods": {403, `pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the cluster scope`},
	} {
		resp, body := g.without(t, "", path)
		if resp.StatusCode != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s: got %d %s", path, resp.StatusCode, body)
		}
		if resp.Header.Get("Audit-Id") == "" {
			t.Errorf("%s: the answer has no Audit-Id", path)
		}
	}
	if resp, body := g.without(t, "nobody's", "/version"); resp.StatusCode != 401 || !strings.Contains(body, `"message":"Unauthorized"`) {
		t.Errorf("a token that nobody knows: got %d %s", resp.StatusCode, body)
	}
	review := must[authorizationv1.SubjectAccessReview](t, g, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: "system:anonymous", Groups: []string{"system:unauthenticated"}, NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/version", Verb: "get"}},
	})
	if !review.Status.Allowed {
		t.Errorf("a review does not agree: %+v", review.Status)
	}
}

func TestASecretIsFilledWithATokenThatOpensTheAPI(t *testing.T) {
	g := start(t)
	must[corev1.ServiceAccount](t, g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"bot"}}`)
	const secrets = "/api/v1/namespaces/default/secrets"
	made := must[corev1.Secret](t, g, "POST", secrets, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bot", Annotations: map[string]string{corev1.ServiceAccountNameKey: "bot"}}, Type: corev1.SecretTypeServiceAccountToken,
	})
	token := string(made.Data[corev1.ServiceAccountTokenKey])
	if token == "" || made.Annotations[corev1.ServiceAccountUIDKey] == "" {
		t.Fatalf("got %v %v", made.Annotations, made.Data)
	}
	if resp, body := g.without(t, token, "/api"); resp.StatusCode != 200 {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
	review := must[authenticationv1.TokenReview](t, g, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}})
	if !review.Status.Authenticated || review.Status.User.Username != "system:serviceaccount:default:bot" {
		t.Errorf("a review does not agree: %+v", review.Status)
	}
	if used := must[corev1.Secret](t, g, "GET", secrets+"/bot", nil).Labels["kubernetes.io/legacy-token-last-used"]; used == "" {
		t.Error("the Secret does not say when its token was used")
	}
}

func TestExtensionServersLearnWhomToBelieve(t *testing.T) {
	g := start(t)
	got := must[corev1.ConfigMap](t, g, "GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication", nil)
	if !strings.Contains(got.Data["client-ca-file"], "BEGIN CERTIFICATE") || len(got.Data) != 1 {
		data, _ := json.Marshal(got.Data)
		t.Errorf("without a proxy: got %s", data)
	}
}

func TestItIsNotedSinceWhenUsesOfTokensAreNoted(t *testing.T) {
	g := start(t)
	const path = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking"
	if _, err := time.Parse(time.DateOnly, must[corev1.ConfigMap](t, g, "GET", path, nil).Data["since"]); err != nil {
		t.Error(err)
	}
}
