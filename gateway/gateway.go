// Package gateway is the Kubernetes API server of Kubus: HTTPS for users, the same
// API over the bus for services and agents, and for the services of its own
// process by a plain call. It is the only writer of objects; any number of
// gateways work side by side.
//
// Start with New, or with Run for a gateway in a process of its own. What is
// below internal is one package a noun: resource (the table of kinds), api
// (routing), storage (writes), read, auth, admission.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/kubernetes/pkg/capabilities"

	"kubus.dev/gateway/internal/aggregate"
	"kubus.dev/gateway/internal/audit"
	"kubus.dev/gateway/internal/bootstrap"
	"kubus.dev/gateway/internal/chain"
	"kubus.dev/gateway/internal/custom"
	"kubus.dev/gateway/internal/flow"
	"kubus.dev/gateway/internal/nodelease"
	"kubus.dev/gateway/internal/service"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/gateway/internal/typecheck"
	"kubus.dev/gateway/internal/upstreamlog"
	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/feed"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/kit"
)

// Gateway serves the API. It is an apiclient.Server, so that services of the same
// process reach it through apiclient.Local.
type Gateway struct {
	cfg   Config
	log   *zap.Logger
	conn  *bus.Conn
	state *statelog.Log
	chain *chain.Chain

	storage    *storage.Set
	custom     *custom.Controller
	aggregator *aggregate.Aggregator
	fairness   *flow.Fairness
	audit      *audit.Audit
	typecheck  typecheck.Options
	// dialService reaches a Service as the gateway itself, for APIs and webhooks behind it.
	dialService aggregate.DialFunc
	services    *service.Hooks
	nodeLeases  *nodelease.Leases
	heartbeats  *bus.Subscription
	endState    context.CancelFunc // ends the state log, which outlives the requests
	// stopPlugins ends what admission does in the background, after the last request.
	stopPlugins context.CancelFunc
	listeners   []net.Listener
	// authentication is the data of the ConfigMap extension-apiserver-authentication.
	authentication map[string]string
}

// AdminUser may do everything. Only this process can speak as it, through
// ServeAs; the bus refuses the name.
const AdminUser = chain.AdminUser

// maxPatchCopies is by how many bytes the copy operations of one JSON patch may make
// an object grow, as upstream's: a short patch that copies itself again and again
// would take all memory.
const maxPatchCopies = 3 << 20

// New opens the state log and makes the cluster's basic objects if they are not
// there. The views must hold all resources. It returns when the gateway can
// serve: connections are taken from then on and answered once Serve runs.
func New(ctx context.Context, cfg Config, p *kit.Process, conn *bus.Conn, views *statelog.Views) (_ *Gateway, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: configuration: %w", err)
	}
	listeners, err := listen(cfg.API.Listen, cfg.API.AlsoListen)
	if err != nil {
		return nil, fmt.Errorf("gateway: listening: %w", err)
	}
	defer func() {
		if err != nil {
			closeAll(listeners) // nothing was served
		}
	}()
	upstreamlog.Use(p.Logger)
	// As kube-apiserver's --allow-privileged: whether a namespace's pods may be
	// privileged is for admission to say, not for validation.
	capabilities.Setup(true, 0)
	atomic.StoreInt64(&jsonpatch.AccumulatedCopySizeLimit, maxPatchCopies)
	stateCtx, endState := context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			endState()
		}
	}()
	state, err := statelog.OpenLog(stateCtx, conn, views, cfg.Replicas, p.Logger)
	if err != nil {
		return nil, fmt.Errorf("gateway: opening the state log: %w", err)
	}
	if err := believe(ctx, cfg, p, state); err != nil {
		return nil, fmt.Errorf("gateway: reading the state log: %w", err)
	}
	g := &Gateway{cfg: cfg, log: p.Logger, conn: conn, state: state, endState: endState, listeners: listeners}
	// Nodes and Namespaces are in one view.
	g.nodeLeases = nodelease.New(state.View(proto.GroupResource{Resource: "nodes"}))
	if g.heartbeats, err = g.nodeLeases.Listen(conn); err != nil {
		return nil, fmt.Errorf("gateway: hearing nodes: %w", err)
	}
	defer func() {
		if err != nil {
			g.heartbeats.Stop()
		}
	}()
	plugins, stop := context.WithCancel(context.WithoutCancel(ctx))
	g.stopPlugins = stop
	defer func() {
		if err != nil {
			stop()
		}
	}()
	parts, err := g.assemble(plugins, p)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.chain, g.storage, g.aggregator, g.authentication = parts.chain, parts.storage, parts.aggregator, parts.authentication
	g.fairness, g.audit, g.typecheck = parts.fairness, parts.audit, parts.typecheck
	g.custom.Refresh() // the kinds that there are, before the first request
	if err := g.bootstrap(ctx); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	p.Health.Ready("bus", func() error {
		if !conn.Connected() {
			return errors.New("the bus is gone")
		}
		return nil
	})
	return g, nil
}

// believe waits until the log was read, and signs of it what is not, or under an old key.
func believe(ctx context.Context, cfg Config, p *kit.Process, state *statelog.Log) error {
	limits, err := cfg.Quota.limits()
	if err != nil {
		return err
	}
	state.SetQuota(limits)
	views := state.Views()
	if signed := cfg.Signing.KeyFile != ""; signed != views.Signed() {
		return fmt.Errorf("signing.keyFile says %t, and the views were opened with %t", signed, views.Signed())
	}
	if err := views.Trusted(ctx); err != nil {
		return err
	}
	n, err := state.Renew(ctx)
	if n > 0 {
		p.Logger.Info("signed what the log held already", zap.Int("messages", n))
	}
	if err == nil && cfg.Signing.AdoptFile != "" {
		if err = os.Remove(cfg.Signing.AdoptFile); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = tellIntegrity(p.Metrics, views)
	}
	return err
}

// bootstrap makes what the cluster lacks.
func (g *Gateway) bootstrap(ctx context.Context) error {
	return bootstrap.Run(ctx, g.basics())
}

// basics are what the cluster is to have.
func (g *Gateway) basics() bootstrap.Options {
	return bootstrap.Options{
		Storage: g.storage, API: g.cfg.apiService(), ServiceCIDRs: g.cfg.serviceCIDRTexts(), Authentication: g.authentication, User: chain.BusUser(AdminUser), Logger: g.log,
	}
}

// keep makes again what was deleted of that.
func (g *Gateway) keep(ctx context.Context) {
	ticker := time.NewTicker(bootstrap.KeepEvery)
	defer ticker.Stop()
	bootstrap.Keep(ctx, g.basics(), ticker.C)
}

// Run is a gateway in a process of its own.
func Run(ctx context.Context, cfg Config, p *kit.Process, c *cluster.Client) error {
	g, err := New(ctx, cfg, p, c.Bus, c.Views)
	if err != nil {
		return err
	}
	return g.Serve(ctx)
}

// drain is how long requests in hand may take when the gateway stops.
const drain = 5 * time.Second

// Serve answers HTTPS and the bus until ctx ends. It may be called once.
func (g *Gateway) Serve(ctx context.Context) error {
	defer g.endState()
	defer closeAll(g.listeners)
	defer g.heartbeats.Stop()
	defer g.stopPlugins()
	tlsConfig, err := g.cfg.tls()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	// What clients do wrong below HTTP, such as refusing the certificate.
	errorLog, err := zap.NewStdLogAt(g.log, zap.DebugLevel)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	// Requests live a little longer than ctx, streams do not.
	requests, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	auditing, endAudit := context.WithCancel(context.WithoutCancel(ctx))
	defer endAudit()
	server := &http.Server{
		Handler: g.chain, TLSConfig: tlsConfig, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second,
		MaxHeaderBytes: 1 << 20, BaseContext: func(net.Listener) context.Context { return requests },
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 250, MaxReadFrameSize: 1 << 20},
		ErrorLog: errorLog,
	}
	overBus, err := apiclient.Serve(requests, g.conn, onBus{g})
	if err != nil {
		return fmt.Errorf("gateway: serving the bus: %w", err)
	}
	readers, err := feed.Serve(requests, g.conn, g.state.Views())
	if err != nil {
		return fmt.Errorf("gateway: serving the log: %w", err)
	}
	if err := g.conn.Publish(proto.GatewayHelloSubject, nil); err != nil {
		return fmt.Errorf("gateway: saying hello: %w", err)
	}
	debug.FreeOSMemory() // what the start needed and nothing needs again
	group, groupCtx := errgroup.WithContext(ctx)
	for _, l := range g.listeners {
		g.log.Info("serving the API", zap.Stringer("address", l.Addr()))
		group.Go(func() error {
			if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("gateway: serving: %w", err)
			}
			return nil
		})
	}
	group.Go(func() error { return g.fairness.Run(requests) })
	if g.audit != nil {
		group.Go(func() error { return g.audit.Run(auditing) })
	}
	group.Go(func() error { return g.aggregator.Run(groupCtx) })
	group.Go(func() error {
		g.keep(groupCtx)
		return nil
	})
	group.Go(func() error { return typecheck.Run(groupCtx, g.typecheck) })
	group.Go(func() error { return g.custom.Run(groupCtx, apiclient.New(apiclient.Local(g), AdminUser)) })
	group.Go(func() error {
		if err := g.services.Repair(groupCtx); groupCtx.Err() == nil {
			return fmt.Errorf("gateway: keeping addresses and ports: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-groupCtx.Done()
		overBus.Stop()
		readers.Stop()
		time.AfterFunc(drain/2, stop)
		shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		if err := server.Shutdown(shutdown); err != nil {
			_ = server.Close() // what is still open had its time
		}
		overBus.Wait() // until stop at the latest
		stop()
		endAudit()
		return nil
	})
	return group.Wait()
}

// listen opens the addresses that are not empty: all of them or none.
func listen(addresses ...string) (listeners []net.Listener, err error) {
	for _, address := range addresses {
		if address == "" {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		_ = l.Close()
	}
}
