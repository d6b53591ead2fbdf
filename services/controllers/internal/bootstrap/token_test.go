package bootstrap

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func newSecret(change func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "bootstrap-token-abc123"}, Type: corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{"token-id": []byte("abc123"), "token-secret": []byte("s3cret"), "usage-bootstrap-signing": []byte("true")},
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestWhichTokensSign(t *testing.T) {
	t.Parallel()
	set := func(key, value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[key] = []byte(value) }
	}
	for _, c := range []struct {
		name   string
		change func(*corev1.Secret)
		signs  bool
		left   time.Duration
	}{
		{"a token for signing", nil, true, 0},
		{"until it expires", set("expiration", noon.Add(time.Hour).Format(time.RFC3339)), true, time.Hour},
		{"not after it expired", set("expiration", noon.Add(-time.Hour).Format(time.RFC3339)), false, 0},
		{"nor when nobody can tell", set("expiration", "soon"), false, 0},
		{"not one for authentication only", set("usage-bootstrap-signing", "false"), false, 0},
		{"not one without a secret", set("token-secret", ""), false, 0},
		{"not one with another's name", set("token-id", "xyz789"), false, 0},
		{"not a Secret of another name", func(s *corev1.Secret) { s.Name = "token-abc123" }, false, 0},
		{"not a Secret of another type", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, false, 0},
		{"not a Secret of another namespace", func(s *corev1.Secret) { s.Namespace = "default" }, false, 0},
	} {
		got, signs := signing(newSecret(c.change), noon)
		if signs != c.signs || signs && got != (token{"abc123", "s3cret", c.left}) {
			t.Errorf("%s: got %v, %v", c.name, got, signs)
		}
	}
}

// The text and its signature are of upstream's own test.
func TestASignatureIsWhatUpstreamMakes(t *testing.T) {
	t.Parallel()
	got, err := detached("Hello from the other side. I must have called a thousand times.", token{ID: "joshua", Secret: "my voice is my passcode"})
	if want := "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"; got != want || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestSignaturesFollowTheTokens(t *testing.T) {
	t.Parallel()
	one, two := token{ID: "one111", Secret: "1"}, token{ID: "two222", Secret: "2"}
	info := map[string]string{"kubeconfig": "config", "note": "kept"}
	for _, c := range []struct {
		name    string
		tokens  []token
		changed bool
		keys    []string
	}{
		{"a first token signs", []token{one}, true, []string{"jws-kubeconfig-one111", "kubeconfig", "note"}},
		{"once", []token{one}, false, []string{"jws-kubeconfig-one111", "kubeconfig", "note"}},
		{"another one too", []token{one, two}, true, []string{"jws-kubeconfig-one111", "jws-kubeconfig-two222", "kubeconfig", "note"}},
		{"a changed secret signs anew", []token{{ID: "one111", Secret: "3"}, two}, true, []string{"jws-kubeconfig-one111", "jws-kubeconfig-two222", "kubeconfig", "note"}},
		{"what is gone signs no more", nil, true, []string{"kubeconfig", "note"}},
	} {
		next, changed, err := signedBy(info, c.tokens)
		if keys := slices.Sorted(maps.Keys(next)); err != nil || changed != c.changed || !slices.Equal(keys, c.keys) {
			t.Errorf("%s: got %v, changed %v, %v", c.name, keys, changed, err)
		}
		info = next
	}
	if next, changed, _ := signedBy(map[string]string{"jws-kubeconfig-old": "x"}, []token{one}); changed || len(next) != 1 {
		t.Errorf("without anything to sign: got %v, changed %v", next, fmt.Sprint(changed))
	}
}
