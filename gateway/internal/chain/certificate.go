package chain

import (
	"crypto/sha256"
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"k8s.io/apiserver/pkg/authentication/authenticator"
)

const (
	// provenFor is how long a certificate that was verified is not verified again.
	provenFor = time.Minute
	// provenMost bounds what is remembered.
	provenMost = 4096
)

// certificates remembers which client certificates were good: their chain of
// signatures costs as much CPU as a third of a create.
type certificates struct {
	next   authenticator.Request
	now    func() time.Time
	proven *lru.Cache[[sha256.Size]byte, proof]
}

type proof struct {
	response *authenticator.Response
	until    time.Time
}

// RememberCertificates wraps an authenticator that looks at a request's client
// certificate and at nothing else: what a proxy says in headers is not the
// certificate's. Requests with other credentials pass it untouched.
func RememberCertificates(next authenticator.Request) authenticator.Request {
	return newCertificates(next, time.Now)
}

func newCertificates(next authenticator.Request, now func() time.Time) *certificates {
	proven, err := lru.New[[sha256.Size]byte, proof](provenMost)
	if err != nil {
		panic("provenMost is no size: " + err.Error())
	}
	return &certificates{next: next, now: now, proven: proven}
}

func (c *certificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || r.Header.Get("Authorization") != "" || r.Header.Get("Sec-Websocket-Protocol") != "" {
		return c.next.AuthenticateRequest(r)
	}
	key, until, now := sha256.Sum256(r.TLS.PeerCertificates[0].Raw), time.Time{}, c.now()
	if p, ok := c.proven.Get(key); ok && now.Before(p.until) {
		return p.response, true, nil
	}
	response, ok, err := c.next.AuthenticateRequest(r)
	if err != nil || !ok {
		return response, ok, err
	}
	until = now.Add(provenFor)
	if end := r.TLS.PeerCertificates[0].NotAfter; end.Before(until) {
		until = end
	}
	c.proven.Add(key, proof{response, until})
	return response, true, nil
}
