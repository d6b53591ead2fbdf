package token

import (
	"crypto"
	"fmt"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/pkg/serviceaccount"

	"kubus.dev/proto"
)

// Options say how tokens are made.
type Options struct {
	KeyFile string // private key, RSA or ECDSA, PEM
	Issuer  string // https URL; also the audience of the API
	// Address is the host:port that the discovery document names.
	Address string
	View    ViewFunc
	// Open gives a Secret's document as it was before it was sealed; nil: none is.
	Open func(key proto.Key, sealed []byte) ([]byte, error)
	// API labels legacy tokens with the day of their last use, as the administrator.
	API http.RoundTripper
	// MaxExpiration shortens tokens that ask for more; 0 does not.
	MaxExpiration time.Duration
	// Extend has the tokens of pods live for ExtendedFor, with warnings after the time
	// that they asked for.
	Extend bool
}

// ExtendedFor is how long an extended token lives, as upstream's.
const ExtendedFor = serviceaccount.ExpirationExtensionSeconds * time.Second

// Issuer signs and checks tokens.
type Issuer struct {
	issuer    string
	generator serviceaccount.TokenGenerator
	keys      serviceaccount.PublicKeysGetter
	metadata  serviceaccount.OpenIDMetadataProvider
	legacy    serviceaccount.TokenGenerator // of tokens in Secrets
	getter    getter
	maximum   time.Duration
	extend    bool
	writer    typedcorev1.SecretsGetter
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
	legacy, err := serviceaccount.JWTTokenGenerator(serviceaccount.LegacyIssuer, key)
	if err != nil {
		return nil, fmt.Errorf("service account key %s: %w", o.KeyFile, err)
	}
	writer, err := typedcorev1.NewForConfigAndClient(&rest.Config{Host: "http://gateway", QPS: -1}, &http.Client{Transport: o.API})
	if err != nil {
		return nil, fmt.Errorf("client of secrets: %w", err)
	}
	metadata, err := serviceaccount.NewOpenIDMetadataProvider(o.Issuer, "", o.Address, keys)
	if err != nil {
		return nil, fmt.Errorf("service account issuer: %w", err)
	}
	return &Issuer{
		issuer: o.Issuer, generator: generator, legacy: legacy, keys: keys, metadata: metadata, getter: getter{o.View, o.Open},
		maximum: o.MaxExpiration, extend: o.Extend, writer: writer,
	}, nil
}

// Audiences are those of the API itself: what a token is for that names none.
func (i *Issuer) Audiences() []string { return []string{i.issuer} }

// Secret gives a Secret, opened.
func (i *Issuer) Secret(namespace, name string) (*corev1.Secret, error) {
	return i.getter.secret(namespace, name)
}

// Legacy checks the tokens that Secrets of the type kubernetes.io/service-account-token
// hold.
func (i *Issuer) Legacy() (authenticator.Token, error) {
	validator, err := serviceaccount.NewLegacyValidator(true, i.getter, i.writer)
	if err != nil {
		return nil, fmt.Errorf("legacy tokens: %w", err)
	}
	return serviceaccount.JWTTokenAuthenticator([]string{serviceaccount.LegacyIssuer}, i.keys, i.Audiences(), validator), nil
}

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
