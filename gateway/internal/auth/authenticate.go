package auth

import (
	cryptox509 "crypto/x509"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
)

// tokenTTL is how long a token that was valid counts as valid without another
// look, as upstream's.
const tokenTTL = 10 * time.Second

// Options say whom an Authenticator believes.
type Options struct {
	// Roots sign client certificates.
	Roots *cryptox509.CertPool
	// Certificates wraps the check of client certificates; nil does not.
	Certificates func(authenticator.Request) authenticator.Request
	// Tokens know bearer tokens; the first that knows one decides.
	Tokens []authenticator.Token
	// Proxy is believed about the users of its requests; nil: nobody is.
	Proxy authenticator.Request
	// Anonymous lets in who says nothing.
	Anonymous bool
}

// Authenticator proves who sends a request.
type Authenticator struct {
	// Requests authenticates by a proxy's headers, certificate, then token; who says
	// nothing is anonymous, who says something wrong is nobody.
	Requests authenticator.Request
	// Tokens authenticates by token alone, for TokenReview.
	Tokens authenticator.Request
}

// NewAuthenticator makes an Authenticator.
func NewAuthenticator(o Options) *Authenticator {
	verify := x509.DefaultVerifyOptions()
	verify.Roots = o.Roots
	var certificates authenticator.Request = x509.New(verify, x509.CommonNameUserConversion)
	if o.Certificates != nil {
		certificates = o.Certificates(certificates)
	}
	cached := tokencache.New(tokenunion.New(o.Tokens...), false, tokenTTL, 0)
	bearer := bearertoken.New(cached)
	var ways []authenticator.Request
	if o.Proxy != nil {
		ways = append(ways, o.Proxy)
	}
	ways = append(ways, certificates, bearer, websocket.NewProtocolAuthenticator(cached))
	requests := group.NewAuthenticatedGroupAdder(union.New(ways...))
	if o.Anonymous {
		requests = union.NewFailOnError(requests, anonymous.NewAuthenticator(nil))
	}
	return &Authenticator{Requests: requests, Tokens: group.NewAuthenticatedGroupAdder(bearer)}
}
