package gateway

import (
	"context"
	"net"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/gateway/internal/admission"
	"kubus.dev/gateway/internal/aggregate"
	"kubus.dev/gateway/internal/api"
	"kubus.dev/gateway/internal/audit"
	"kubus.dev/gateway/internal/chain"
	"kubus.dev/gateway/internal/custom"
	"kubus.dev/gateway/internal/discovery"
	"kubus.dev/gateway/internal/flow"
	"kubus.dev/gateway/internal/informer"
	"kubus.dev/gateway/internal/loopback"
	"kubus.dev/gateway/internal/openapi"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/gateway/internal/typecheck"
	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/services/kit"
)

// parts are what assemble made.
type parts struct {
	chain      *chain.Chain
	storage    *storage.Set
	aggregator *aggregate.Aggregator
	fairness   *flow.Fairness
	audit      *audit.Audit // nil: nothing is written down
	typecheck  typecheck.Options
	// authentication is what extension API servers are told of it.
	authentication map[string]string
}

// assemble puts the layers together. What works in the background ends with ctx.
func (g *Gateway) assemble(ctx context.Context, p *kit.Process) (*parts, error) {
	edges, err := g.edges(p)
	if err != nil {
		return nil, err
	}
	registry := resource.NewRegistry(resource.BuiltIn())
	set := storage.NewSet(&storage.Backend{Log: g.state, Sealer: edges.sealer}, storage.Options{
		Registry: registry, Authorizer: edges.authorizer, Rules: edges.rules, Hooks: edges.hooks,
		Shown: map[proto.GroupResource]storage.Shown{proto.Leases: g.nodeLeases},
	})
	dial := func(ctx context.Context, namespace, service string, port int32) (net.Conn, error) {
		return g.dialService(ctx, namespace, service, port)
	}
	g.custom, err = custom.New(custom.Options{Log: g.state, Registry: registry, Dial: dial, Store: set.Detached, Logger: g.log})
	if err != nil {
		return nil, err
	}
	clients, err := loopback.New(apiclient.New(apiclient.Local(g), AdminUser))
	if err != nil {
		return nil, err
	}
	plugins, err := g.admission(ctx, registry, edges, clients)
	if err != nil {
		return nil, err
	}
	resources := api.New(api.Options{
		Registry: registry, Current: g.custom.Current, Settle: g.custom.Settle, Storage: set, Admission: custom.Guard(plugins, g.custom), Authorizer: edges.authorizer, Types: openapi.NewTypes(),
		Read: edges.read, Connect: edges.connect, Creaters: edges.creaters, NamedCreaters: edges.namedCreaters,
	})
	certificate, err := g.cfg.proxyCertificate()
	if err != nil {
		return nil, err
	}
	aggregator := aggregate.New(aggregate.Options{
		View: g.state.View, Registry: registry, Storage: set, ClientCertificate: certificate, Delegates: delegates(g.conn), User: chain.BusUser(AdminUser), Logger: g.log, Dial: dial,
	})
	fairness, err := flow.New(flow.Options{
		Seats: g.cfg.Fairness.seats(), View: g.state.View, LongRunning: chain.LongRunning,
		API: apiclient.New(apiclient.Local(g), AdminUser).RoundTripper(),
	})
	if err != nil {
		return nil, err
	}
	audited, err := audit.New(ctx, audit.Options{Config: g.cfg.Audit, Conn: g.conn, Replicas: g.cfg.Replicas, LongRunning: chain.LongRunning, Logger: g.log})
	if err != nil {
		return nil, err
	}
	routes := g.routes(p, routed{registry, aggregator, resources, fairness})
	for pattern, h := range edges.routes {
		routes.Method(http.MethodGet, pattern, h)
		routes.Method(http.MethodGet, pattern+"/", h)
	}
	options := chain.Options{
		Authenticator: edges.authenticator, Authorizer: edges.authorizer, Impersonate: edges.impersonate,
		Fair: fairness.Handler, Next: routes, Logger: g.log, Metrics: p.Metrics,
		Serves: func(gvr schema.GroupVersionResource) bool { return registry.Find(gvr) != nil },
	}
	if audited != nil {
		options.Audit, options.AuditFailed = audited.Handler, audited.Failed
	}
	return &parts{
		storage: set, aggregator: aggregator, fairness: fairness, audit: audited, chain: chain.New(options), authentication: edges.authentication,
		typecheck: typecheck.Options{View: g.state.View(typecheck.Policies), Client: clients.Typed, Mapper: admission.NewMapper(registry), Logger: g.log},
	}, nil
}

// admission makes the chain of plugins over the views and a client of this gateway.
func (g *Gateway) admission(ctx context.Context, registry *resource.Registry, edges *edges, clients *loopback.Clients) (upstream.Interface, error) {
	informers := informer.New(ctx, informer.Options{
		View: g.state.View, Barrier: g.state.Barrier, Open: edges.sealer.Open, Registry: registry, Patience: admission.Patience, Logger: g.log,
	})
	return admission.New(ctx, admission.Options{
		Config: g.cfg.Admission.config(), Informers: informers, Clients: clients, Registry: registry, Authorizer: edges.authorizer, View: g.state.View, Logger: g.log,
		Dial: func(ctx context.Context, namespace, service string, port int32) (net.Conn, error) {
			return g.dialService(ctx, namespace, service, port)
		},
		Elsewhere: flow.Elsewhere,
	})
}

// routed are the parts that paths lead to.
type routed struct {
	registry   *resource.Registry
	aggregator *aggregate.Aggregator
	resources  http.Handler
	fairness   *flow.Fairness
}

// routes is everything behind the chain.
func (g *Gateway) routes(p *kit.Process, to routed) *chi.Mux {
	r := chi.NewRouter()
	r.MethodNotAllowed(api.NotAllowed)
	missing := api.Missing(to.registry)
	documents := discovery.New(discovery.Options{Registry: to.registry, Remotes: to.aggregator.Remotes, Address: g.cfg.API.Listen,
		Router: discovery.Router{NotFound: missing, NotAllowed: api.NotAllowed, Refused: api.Refused}})
	// A path that names a resource is the table's, or another server's; the rest is discovery.
	r.Handle("/api/*", resourcesOr(to.resources, documents))
	r.Handle("/apis/*", to.aggregator.Handler(resourcesOr(to.resources, documents)))
	r.Handle("/api", documents)
	r.Handle("/apis", documents)
	for _, path := range []string{"/version", "/version/"} {
		r.Get(path, discovery.Version(p.Version))
	}
	r.HandleFunc("/version/{name}", api.NotFound)
	docs := openapi.Handler(http.NotFound, g.custom.Documents, to.aggregator.Documents)
	r.Handle("/openapi/*", docs)
	health := p.Health.Handler()
	for _, path := range []string{"/livez", "/livez/{check}", "/readyz", "/readyz/{check}", "/healthz", "/healthz/{check}"} {
		r.Handle(path, health)
	}
	if gatherer, ok := p.Metrics.(prometheus.Gatherer); ok {
		r.Handle("/metrics", metricsHandler(gatherer, func() { g.chain.Gauges() }))
	}
	indicators(r, p.Health)
	paths := []string{"/.well-known/openid-configuration", "/flagz", "/healthz", "/healthz/ping", "/livez", "/livez/ping", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/openapi/v3/",
		"/openid/v1/jwks", "/readyz", "/readyz/ping", "/statusz", "/version"}
	g.debug(r, p.Version, to.fairness.Debug(), paths)
	index := documents.Paths(paths...)
	r.HandleFunc("/", index)
	r.HandleFunc("/index.html", index)
	return r
}

// resourcesOr sends requests on resources to one handler and the others to another.
func resourcesOr(resources, others http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && info.IsResourceRequest {
			resources.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	}
}
