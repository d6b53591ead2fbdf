package gateway

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	rbacvalidation "k8s.io/kubernetes/pkg/registry/rbac/validation"

	"kubus.dev/gateway/internal/auth"
	"kubus.dev/gateway/internal/chain"
	"kubus.dev/gateway/internal/read"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/seal"
	"kubus.dev/gateway/internal/service"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/gateway/internal/streams"
	"kubus.dev/gateway/internal/token"
	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
)

// edges are the parts between the layers: who may, and what is served beside
// plain writes.
type edges struct {
	sealer        storage.Sealer
	authenticator authenticator.Request
	authorizer    authorizer.UnconditionalAuthorizer
	impersonate   func(http.Handler) http.Handler
	rules         rbacvalidation.AuthorizationRuleResolver
	hooks         map[proto.GroupResource]storage.Hooks
	read          func(*resource.Kind, schema.GroupVersion) http.Handler
	connect       map[string]http.Handler
	creaters      map[schema.GroupResource]rest.Creater
	namedCreaters map[string]rest.NamedCreater
	routes        map[string]http.Handler
	// authentication is what extension API servers are told of it.
	authentication map[string]string
}

func (g *Gateway) edges(*kit.Process) (*edges, error) {
	pool, pem, err := g.cfg.clientCAs()
	if err != nil {
		return nil, err
	}
	key, err := seal.LoadKey(g.cfg.SealKeyFile)
	if err != nil {
		return nil, err
	}
	address := g.cfg.API.Advertise
	if address == "" {
		address = g.cfg.API.Listen
	}
	issuer, err := token.NewIssuer(token.Options{
		KeyFile: g.cfg.ServiceAccount.KeyFile, Issuer: g.cfg.ServiceAccount.Issuer, Address: address, View: g.state.View, Open: key.Open,
		API:           apiclient.New(apiclient.Local(g), AdminUser).RoundTripper(),
		MaxExpiration: g.cfg.ServiceAccount.MaxTokenExpiration.Std(), Extend: g.cfg.ServiceAccount.ExtendTokenExpiration,
	})
	if err != nil {
		return nil, err
	}
	hooks, err := g.serviceHooks()
	if err != nil {
		return nil, err
	}
	hooks[proto.GroupResource{Resource: "secrets"}] = secretHooks(issuer)
	forwarder, err := g.cfg.Aggregation.forwarder()
	if err != nil {
		return nil, err
	}
	published, err := g.cfg.Authentication.RequestHeader.Published(pem, forwarder)
	if err != nil {
		return nil, err
	}
	reader := read.New(read.Options{
		View: g.state.View, Barrier: g.state.Barrier, Open: key.Open, Logger: g.log,
		Shown: map[proto.GroupResource]read.Shown{proto.Leases: g.nodeLeases},
	})
	rules := auth.NewRules(g.state.View)
	authorizer := auth.NewAuthorizer(rules)
	server := streams.New(streams.Options{
		Conn: g.conn, View: g.state.View, Barrier: g.state.Barrier, Authorizer: authorizer, Logger: g.log,
	})
	g.dialService = server.DialService
	authenticator, err := g.authenticator(pool, issuer)
	if err != nil {
		return nil, err
	}
	return &edges{
		sealer:        key,
		read:          reader.Handler,
		authenticator: authenticator.Requests,
		authorizer:    authorizer,
		impersonate:   auth.Impersonate(authorizer),
		rules:         rules,
		hooks:         hooks,
		connect:       server.Handlers(),
		creaters:      auth.Reviews(authorizer, authenticator.Tokens, issuer.Audiences()),
		namedCreaters: map[string]rest.NamedCreater{"serviceaccounts/token": issuer.Request()},
		routes:        issuer.Routes(),

		authentication: published,
	}, nil
}

// authenticator believes whom the configuration names.
func (g *Gateway) authenticator(roots *x509.CertPool, issuer *token.Issuer) (*auth.Authenticator, error) {
	legacy, err := issuer.Legacy()
	if err != nil {
		return nil, err
	}
	proxy, err := g.cfg.Authentication.RequestHeader.Authenticator()
	if err != nil {
		return nil, err
	}
	tokens := []authenticator.Token{legacy, issuer.Authenticator()}
	if g.cfg.Authentication.BootstrapTokens {
		tokens = append(tokens, auth.BootstrapTokens(issuer.Secret))
	}
	return auth.NewAuthenticator(auth.Options{
		Roots: roots, Certificates: chain.RememberCertificates, Tokens: tokens, Proxy: proxy, Anonymous: g.cfg.Authentication.Anonymous,
	}), nil
}

// secretHooks fill in tokens of ServiceAccounts.
func secretHooks(issuer *token.Issuer) storage.Hooks {
	return storage.Hooks{
		BeginCreate: func(ctx context.Context, obj runtime.Object, _ bool) ([]statelog.Write, func(error), error) {
			return nil, nil, issuer.Fill(ctx, obj)
		},
		BeginUpdate: func(ctx context.Context, obj, _ runtime.Object, _ bool) ([]statelog.Write, func(error), error) {
			return nil, nil, issuer.Fill(ctx, obj)
		},
	}
}

// serviceHooks give Services their addresses and ports. The configuration is valid.
func (g *Gateway) serviceHooks() (map[proto.GroupResource]storage.Hooks, error) {
	cidrs, err := g.cfg.serviceCIDRs()
	if err != nil {
		return nil, fmt.Errorf("serviceCIDR: %w", err)
	}
	first, last, err := g.cfg.nodePorts()
	if err != nil {
		return nil, fmt.Errorf("nodePorts: %w", err)
	}
	if g.services, err = service.New(service.Options{Log: g.state, CIDRs: cidrs, FirstPort: first, LastPort: last, Logger: g.log}); err != nil {
		return nil, err
	}
	return map[proto.GroupResource]storage.Hooks{
		{Resource: "services"}: {BeginCreate: g.services.BeginCreate, BeginUpdate: g.services.BeginUpdate, AfterDelete: g.services.AfterDelete},
		service.Addresses:      {Remove: g.services.RemoveAddress},
	}, nil
}
