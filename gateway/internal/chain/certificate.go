package chain

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

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
	next authenticator.Request
	now  func() time.Time

	mu     sync.Mutex
	proven map[[sha256.Size]byte]proof
}

type proof struct {
	response *authenticator.Response
	until    time.Time
}

// RememberCertificates wraps an authenticator that looks at a request's client
// certificate first. Requests with other credentials pass it untouched.
func RememberCertificates(next authenticator.Request) authenticator.Request {
	return &certificates{next: next, now: time.Now, proven: map[[sha256.Size]byte]proof{}}
}

func (c *certificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || r.Header.Get("Authorization") != "" || r.Header.Get("Sec-Websocket-Protocol") != "" {
		return c.next.AuthenticateRequest(r)
	}
	key, until, now := sha256.Sum256(r.TLS.PeerCertificates[0].Raw), time.Time{}, c.now()
	c.mu.Lock()
	p := c.proven[key]
	c.mu.Unlock()
	if now.Before(p.until) {
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
	c.mu.Lock()
	if len(c.proven) >= provenMost {
		clear(c.proven)
	}
	c.proven[key] = proof{response, until}
	c.mu.Unlock()
	return response, true, nil
}
