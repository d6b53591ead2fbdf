package client

import "net/http"

// WithToken is the same server for another client: one that says who it is by a bearer
// token.
func (c *Config) WithToken(token string) *Config {
	other := &Config{Server: c.Server, tls: c.tls.Clone(), token: token}
	other.tls.Certificates = nil
	return other
}

// bearer adds a token to each request.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client close what is below.
func (b bearer) CloseIdleConnections() {
	if c, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// NewSmall is New for a client that takes little of an answer before it is read.
func (c *Config) NewSmall() *Client {
	own := c.New()
	t, ok := own.http.Transport.(*http.Transport)
	if b, is := own.http.Transport.(bearer); is {
		t, ok = b.next.(*http.Transport)
	}
	if ok {
		t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10 * 64}
	}
	return own
}
