package continuation_test

import (
	"encoding/base64"
	"strings"
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

// FuzzDecode: a token is refused as the client's mistake, or means the same when it is
// written anew.
func FuzzDecode(f *testing.F) {
	f.Add(continuation.Token{Namespace: "ns", Name: "a", Revision: 7, Began: time.UnixMilli(1)}.Encode(), true)
	f.Add(continuation.Token{Name: "node", Revision: continuation.Latest}.Encode(), false)
	f.Add("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8ifQ", true)
	f.Add("e30", false)
	f.Add("!", true)
	f.Fuzz(func(t *testing.T, text string, namespaced bool) {
		token, err := continuation.Decode(text, namespaced)
		if err != nil {
			if !apierrors.IsBadRequest(err) {
				t.Errorf("%q: got %v, want 400", text, err)
			}
			return
		}
		if !namespaced && token.Namespace != "" {
			t.Errorf("%q: a kind without namespaces goes on in %q", text, token.Namespace)
		}
		if token.Revision == 0 || token.Revision < continuation.Latest || token.Name == "" || namespaced && token.Namespace == "" || strings.ContainsAny(token.Name, "/\x00") {
			return // no list gives such a token; that it can be read is enough
		}
		again, err := continuation.Decode(token.Encode(), namespaced)
		if err != nil || again.Namespace != token.Namespace || again.Name != token.Name || again.Revision != token.Revision {
			t.Errorf("%q is %+v, written anew %+v, %v", text, token, again, err)
		}
	})
}
