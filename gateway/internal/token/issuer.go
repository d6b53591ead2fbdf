package token

import (
	"crypto"
	"fmt"
	"net/http"
	"strconv"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// Options say how tokens are made.
type Options struct {
	KeyFile string // private key, RSA or ECDSA, PEM
	Issuer  string // https URL; also the audience of the API
	// Address is the host:port that the discovery document names.
	Address string
	View    ViewFunc
}

// Issuer signs and checks tokens.
type Issuer struct {
	issuer    string
	generator serviceaccount.TokenGenerator
	keys      serviceaccount.PublicKeysGetter
	metadata  serviceaccount.OpenIDMetadataProvider
	getter    getter
}

// NewIssuer reads the key.
func NewIssuer(o Options) (*Issuer, error) {
	key, err := keyutil.PrivateKeyFromFile(o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the service account key: %w", err)
	}
	generator, err := serviceaccount.JWTTokenGenerator(o.Issuer, key)
	if err != nil {
		return nil, fmt.Errorf("service account key %s: %w", o.KeyFile, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("service account key %s: %T has no public part", o.KeyFile, key)
	}
	keys, err := serviceaccount.StaticPublicKeysGetter([]any{signer.Public()})
	if err != nil {
		return nil, fmt.Errorf("service account key %s: %w", o.KeyFile, err)
	}
	metadata, err := serviceaccount.NewOpenIDMetadataProvider(o.Issuer, "", o.Address, keys)
	if err != nil {
		return nil, fmt.Errorf("service account issuer: %w", err)
	}
	return &Issuer{issuer: o.Issuer, generator: generator, keys: keys, metadata: metadata, getter: getter{o.View}}, nil
}

// Audiences are those of the API itself: what a token is for that names none.
func (i *Issuer) Audiences() []string { return []string{i.issuer} }

// Authenticator checks tokens of this issuer.
func (i *Issuer) Authenticator() authenticator.Token {
	return serviceaccount.JWTTokenAuthenticator([]string{i.issuer}, i.keys, i.Audiences(), serviceaccount.NewValidator(i.getter))
}

// Routes are the discovery documents by path.
func (i *Issuer) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		serviceaccount.OpenIDConfigPath: document("application/json", i.metadata.GetConfigJSON),
		serviceaccount.JWKSPath:         document("application/jwk-set+json", i.metadata.GetKeysetJSON),
	}
}

func document(mediaType string, get func() ([]byte, int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body, maxAge := get()
		w.Header().Set("Content-Type", mediaType)
		if maxAge > 0 {
			w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(maxAge))
		}
		_, _ = w.Write(body) // the client is gone: nobody is left to be told
	})
}
