package continuation_test

import (
	"encoding/base64"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/storage"

	"kubus.dev/gateway/internal/continuation"
)

func TestATokenIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	began := time.UnixMilli(1_700_000_000_123)
	for name, c := range map[string]struct {
		token      continuation.Token
		namespaced bool
	}{
		"of a namespace":     {continuation.Token{Namespace: "ns", Name: "a.b", Revision: 17, Began: began}, true},
		"without namespaces": {continuation.Token{Name: "system:a", Revision: 17, Began: began}, false},
	} {
		got, err := continuation.Decode(c.token.Encode(), c.namespaced)
		if err != nil || got != c.token {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.token)
		}
		// Upstream's own code reads it as well.
		if _, revision, err := storage.DecodeContinue(c.token.Encode(), "/registry/"); err != nil || revision != 17 {
			t.Errorf("%s: upstream reads %d, %v", name, revision, err)
		}
	}
}

func TestUpstreamsTokenBeginsNow(t *testing.T) {
	t.Parallel()
	text, err := storage.EncodeContinue("/registry/ns/a\x00", "/registry/", 5)
	if err != nil {
		t.Fatal(err)
	}
	got, err := continuation.Decode(text, true)
	if err != nil || got.Namespace != "ns" || got.Name != "a" || got.Revision != 5 || time.Since(got.Began) > time.Minute {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWhatIsNoTokenIsABadRequest(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"no base64":           "%",
		"no JSON":             base64.RawURLEncoding.EncodeToString([]byte("x")),
		"another version":     base64.RawURLEncoding.EncodeToString([]byte(`{"v":"v2","rv":1,"start":"a"}`)),
		"no revision":         base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","start":"a"}`)),
		"a way out of a list": base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets"}`)),
	} {
		if _, err := continuation.Decode(text, true); !apierrors.IsBadRequest(err) {
			t.Errorf("%s: got %v, want a bad request", name, err)
		}
	}
}

func TestAnExpiredTokenGoesOnWithTheListAsItIs(t *testing.T) {
	t.Parallel()
	err := continuation.Token{Namespace: "ns", Name: "a", Revision: 5}.Expired()
	if !apierrors.IsResourceExpired(err) {
		t.Fatalf("got %v, want 410", err)
	}
	got, decodeErr := continuation.Decode(err.(apierrors.APIStatus).Status().ListMeta.Continue, true)
	if decodeErr != nil || got.Namespace != "ns" || got.Name != "a" || got.Revision != continuation.Latest {
		t.Errorf("got %v, %v", got, decodeErr)
	}
}
