package auth

import (
	cryptox509 "crypto/x509"
	"net/http"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
)

// tokenTTL is how long a token that was valid counts as valid without another
// look, as upstream's.
const tokenTTL = 10 * time.Second

// Authenticator proves who sends a request.
type Authenticator struct {
	// Requests authenticates by certificate, then token, then as nobody on health paths.
	Requests authenticator.Request
	// Tokens authenticates by token alone, for TokenReview.
	Tokens authenticator.Request
}

// NewAuthenticator makes an Authenticator of client certificates that roots
// signed and of tokens.
func NewAuthenticator(roots *cryptox509.CertPool, tokens authenticator.Token) *Authenticator {
	verify := x509.DefaultVerifyOptions()
	verify.Roots = roots
	cached := tokencache.New(tokens, false, tokenTTL, 0)
	bearer := group.NewAuthenticatedGroupAdder(bearertoken.New(cached))
	ws := group.NewAuthenticatedGroupAdder(websocket.NewProtocolAuthenticator(cached))
	certs := group.NewAuthenticatedGroupAdder(x509.New(verify, x509.CommonNameUserConversion))
	return &Authenticator{
		Requests: union.NewFailOnError(union.New(certs, bearer, ws), authenticator.RequestFunc(nobody)),
		Tokens:   bearer,
	}
}

// nobody lets requests without credentials reach the health paths; RBAC still
// decides what they find there.
func nobody(r *http.Request) (*authenticator.Response, bool, error) {
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		if r.URL.Path == path || strings.HasPrefix(r.URL.Path, path+"/") {
			return &authenticator.Response{User: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}}, true, nil
		}
	}
	return nil, false, nil
}
