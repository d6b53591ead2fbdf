package chain

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestCertificatesAreProvenOnceAMinute(t *testing.T) {
	asked := 0
	verdict := error(nil)
	now := time.Unix(1000, 0)
	c := RememberCertificates(authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		asked++
		return &authenticator.Response{User: &user.DefaultInfo{Name: "u"}}, verdict == nil, verdict
	})).(*certificates)
	c.now = func() time.Time { return now }
	request := func(raw string, notAfter time.Time, header string) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		if raw != "" {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: []byte(raw), NotAfter: notAfter}}}
		}
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		return r
	}
	later := now.Add(time.Hour)
	for _, step := range []struct {
		name    string
		request *http.Request
		verdict error
		passes  time.Duration
		asked   int
	}{
		{"the first time it is asked", request("a", later, ""), nil, 0, 1},
		{"the second time it is not", request("a", later, ""), nil, 0, 1},
		{"another certificate is asked about", request("b", later, ""), nil, 0, 2},
		{"a token is always asked about", request("a", later, "Bearer x"), nil, 0, 3},
		{"so is a request without a certificate", request("", later, ""), nil, 0, 4},
		{"after a minute it is asked again", request("a", later, ""), nil, provenFor, 5},
		{"a refusal is not remembered", request("bad", later, ""), errors.New("no"), 0, 6},
		{"nor is it the second time", request("bad", later, ""), errors.New("no"), 0, 7},
		{"a certificate about to end is asked about", request("short", now.Add(provenFor+time.Second), ""), nil, 0, 8},
		{"and again when it has ended", request("short", now.Add(provenFor+time.Second), ""), nil, 2 * time.Second, 9},
	} {
		now = now.Add(step.passes)
		verdict = step.verdict
		if _, ok, err := c.AuthenticateRequest(step.request); ok != (step.verdict == nil) || !errors.Is(err, step.verdict) {
			t.Errorf("%s: got %v, %v", step.name, ok, err)
		}
		if asked != step.asked {
			t.Errorf("%s: asked %d times, want %d", step.name, asked, step.asked)
		}
	}
}
