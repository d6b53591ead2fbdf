package source

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/bustest/apitest"
)

func TestATokenIsRenewedAfterFourFifthsOfItsLifeOrADay(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct{ life, want time.Duration }{
		"an hour":   {time.Hour, 48 * time.Minute},
		"ten hours": {10 * time.Hour, 8 * time.Hour},
		"a year":    {365 * 24 * time.Hour, 24 * time.Hour},
	} {
		if got := (token{issued: start, expires: start.Add(c.life)}).renewAt().Sub(start); got != c.want {
			t.Errorf("a life of %s: renewed after %s, want %s", name, got, c.want)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	api := apitest.New()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var asked []authv1.TokenRequestSpec
	api.Answer("/api/v1/namespaces/ns/serviceaccounts/default/token", func(body []byte) (any, error) {
		var r authv1.TokenRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, err
		}
		asked = append(asked, r.Spec)
		r.Status = authv1.TokenRequestStatus{Token: fmt.Sprint("t", len(asked)), ExpirationTimestamp: metav1.NewTime(now.Add(time.Hour))}
		return &r, nil
	})
	store := open(t)
	begin := func() *Tokens {
		tokens := NewTokens(api.Client("system:node:n"), store, zap.NewNop())
		tokens.now = func() time.Time { return now }
		return tokens
	}
	tokens := begin()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "u"}}
	get := func() string {
		value, _, err := tokens.Token(t.Context(), pod, "api", 3600)
		if err != nil {
			return err.Error()
		}
		return value
	}
	step := func(what, want string) {
		t.Helper()
		if got := get(); got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	step("the first", "t1")
	if s := asked[0]; *s.ExpirationSeconds != 3600 || !slices.Equal(s.Audiences, []string{"api"}) || s.BoundObjectRef.Name != "p" || s.BoundObjectRef.UID != "u" {
		t.Errorf("asked for %+v", s)
	}
	step("again", "t1")
	now = now.Add(48 * time.Minute)
	step("when four fifths are over", "t2")
	api.Away(true)
	now = now.Add(50 * time.Minute)
	step("when it should be renewed and the API is away", "t2")
	now = now.Add(11 * time.Minute)
	if got := get(); got == "t2" {
		t.Error("an expired token was given")
	}
	api.Away(false)
	step("when the API is back", "t3")
	api.Away(true)
	tokens = begin()
	step("after a restart while the API is away", "t3")
	api.Away(false)
	tokens.Forget("u")
	if err := store.RemovePod("u"); err != nil {
		t.Fatal(err)
	}
	step("after the pod was forgotten", "t4")
	if err := store.WithoutSecrets(); err != nil {
		t.Fatal(err)
	}
	tokens = begin()
	step("after a restart of an agent that keeps none", "t5")
	if left, err := os.ReadDir(store.tokenDir("u")); len(left) > 0 {
		t.Errorf("kept all the same: %v, %v", left, err)
	}
}
