package gateway

import (
	"context"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	rbacvalidation "k8s.io/kubernetes/pkg/registry/rbac/validation"

	"kubus.dev/gateway/internal/read"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/seal"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/proto"
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
	clientCA      []byte
}

func (g *Gateway) edges(p *kit.Process) (*edges, error) {
	pool, pem, err := g.cfg.clientCAs()
	if err != nil {
		return nil, err
	}
	key, err := seal.LoadKey(g.cfg.SealKeyFile)
	if err != nil {
		return nil, err
	}
	reader := read.New(read.Options{View: g.state.View, Barrier: g.state.Barrier, Open: key.Open, Logger: g.log})
	verify := x509.DefaultVerifyOptions()
	verify.Roots = pool
	return &edges{
		sealer:        key,
		read:          reader.Handler,
		authenticator: x509.New(verify, x509.CommonNameUserConversion),
		authorizer: authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
			return authorizer.DecisionAllow, "", nil
		}),
		clientCA: pem,
	}, nil
}
