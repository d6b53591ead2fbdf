package token_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/apis/authentication"
	"k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/gateway/internal/token"
)

// secret is a Secret of the type for tokens of the account sa.
func secret(name string) *core.Secret {
	return &core.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, Annotations: map[string]string{core.ServiceAccountNameKey: "sa"}},
		Type:       core.SecretTypeServiceAccountToken,
	}
}

// api counts the labels that are written through it.
type api struct{ patches atomic.Int32 }

func (a *api) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch && strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/a/secrets/") {
		a.patches.Add(1)
	}
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Type", "application/json")
	_, _ = rec.WriteString(`{"kind":"Secret","apiVersion":"v1"}`)
	return rec.Result(), nil
}

func TestATokenInASecretLivesAsLongAsTheSecret(t *testing.T) {
	written := &api{}
	log, issuer := start(t, func(o *token.Options) { o.API = written })
	put(t, log, "configmaps", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": "the CA"}})
	s := secret("s")
	if err := issuer.Fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if s.Annotations[core.ServiceAccountUIDKey] != "sa-uid" || string(s.Data["namespace"]) != "a" || string(s.Data["ca.crt"]) != "the CA" {
		t.Errorf("got %v %v", s.Annotations, s.Data)
	}
	text := string(s.Data["token"])
	legacy, err := issuer.Legacy()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := legacy.AuthenticateToken(t.Context(), text); ok {
		t.Error("the token is good before its Secret is there")
	}
	put(t, log, "secrets", &corev1.Secret{ObjectMeta: s.ObjectMeta, Type: corev1.SecretType(s.Type), Data: s.Data})
	resp, ok, err := legacy.AuthenticateToken(t.Context(), text)
	if err != nil || !ok || resp.User.GetName() != "system:serviceaccount:a:sa" {
		t.Fatalf("got %v, %v, %+v", ok, err, resp)
	}
	if written.patches.Load() != 1 {
		t.Errorf("the day of the use was written %d times", written.patches.Load())
	}
	if _, ok, _ := issuer.Authenticator().AuthenticateToken(t.Context(), text); ok {
		t.Error("the token counts as one that was asked for")
	}
	remove(t, log, "secrets", "a", "s")
	if _, ok, err := legacy.AuthenticateToken(t.Context(), text); ok || err == nil {
		t.Errorf("the token outlived its Secret: %v, %v", ok, err)
	}
}

func TestWhichSecretsGetNoToken(t *testing.T) {
	_, issuer := start(t)
	for name, change := range map[string]func(*core.Secret){
		"those of another type":                 func(s *core.Secret) { s.Type = core.SecretTypeOpaque },
		"those of an account that is not there": func(s *core.Secret) { s.Annotations[core.ServiceAccountNameKey] = "gone" },
		"those of an account of another time":   func(s *core.Secret) { s.Annotations[core.ServiceAccountUIDKey] = "old" },
	} {
		t.Run(name, func(t *testing.T) {
			s := secret("s")
			change(s)
			if err := issuer.Fill(t.Context(), s); err != nil || len(s.Data) != 0 {
				t.Errorf("got %v, %v", s.Data, err)
			}
		})
	}
	s := secret("s")
	s.Data = map[string][]byte{"token": []byte("own")}
	if err := issuer.Fill(t.Context(), s); err != nil || string(s.Data["token"]) != "own" {
		t.Errorf("a token that is there was replaced: %s, %v", s.Data["token"], err)
	}
}

// lives is how long the API believes a token, by its claims.
func lives(t *testing.T, issuer *token.Issuer, change func(*authentication.TokenRequest)) (told, real time.Duration) {
	t.Helper()
	made, err := ask(t, issuer, "sa", change)
	if err != nil {
		t.Fatal(err)
	}
	claims := claimsOf(t, made.Status.Token)
	return time.Until(made.Status.ExpirationTimestamp.Time).Round(time.Minute), time.Duration(claims.Exp-claims.Iat) * time.Second
}

func TestHowLongTokensLive(t *testing.T) {
	hour := func(r *authentication.TokenRequest) { bind("Pod", "p")(r); r.Spec.ExpirationSeconds = 3607 }
	day := func(r *authentication.TokenRequest) { r.Spec.ExpirationSeconds = 24 * 3600 }
	for _, c := range []struct {
		name       string
		extend     bool
		most       time.Duration
		ask        func(*authentication.TokenRequest)
		told, real time.Duration
	}{
		{"as long as they were asked for", true, 0, day, 24 * time.Hour, 24 * time.Hour},
		{"at most as long as is allowed", true, 2 * time.Hour, day, 2 * time.Hour, 2 * time.Hour},
		{"a year where a pod asks for its hour", true, 0, hour, time.Hour, token.ExtendedFor},
		{"not longer than is allowed", true, 2 * time.Hour, hour, time.Hour, 2 * time.Hour},
		{"an hour where nothing is extended", false, 0, hour, time.Hour, 3607 * time.Second},
		{"an hour where the token is for others", true, 0, func(r *authentication.TokenRequest) { hour(r); r.Spec.Audiences = []string{"vault"} }, time.Hour, 3607 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, issuer := start(t, func(o *token.Options) { o.Extend, o.MaxExpiration = c.extend, c.most })
			if told, real := lives(t, issuer, c.ask); told != c.told || real != c.real {
				t.Errorf("told %v, lives %v; want %v, %v", told, real, c.told, c.real)
			}
		})
	}
}

type claims struct {
	Exp, Iat int64
}

func claimsOf(t *testing.T, text string) claims {
	t.Helper()
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", text)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var c claims
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return c
}
