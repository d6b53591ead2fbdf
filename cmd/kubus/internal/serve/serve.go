// Package serve is the all-in-one process: the embedded store, one connection to
// it, one view of each stream, and every service of the roster on top, each by the
// same Run that its own main calls.
package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/roster"
	"kubus.dev/cmd/kubus/internal/sim"
	"kubus.dev/gateway"
	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/store"
	"kubus.dev/services/kit"
)

// HealthPort is the purpose of the port on which the process tells its health.
const HealthPort = "health"

// Run serves an instance until ctx ends. The data directory must be locked.
func Run(ctx context.Context, i *instance.Instance, logger *zap.Logger) error {
	configs, err := roster.Configs(i)
	if err != nil {
		return err
	}
	b, err := openBus(ctx, i, logger)
	if err != nil {
		return err
	}
	defer b.close()
	conn, err := b.connect(ctx, store.OperatorRole.Name)
	if err != nil {
		return err
	}

	conns, err := b.own(ctx, configs)
	if err != nil {
		return err
	}

	front := *configs[roster.GatewayName].(*gateway.Config)
	registry := kit.NewRegistry()
	p := &kit.Process{Logger: logger, Metrics: registry, Health: kit.NewHealth(), Version: kit.Version}
	group, ctx := errgroup.WithContext(ctx)
	views, endViews, err := viewsOf(ctx, front.Signing, conn, logger)
	if err != nil {
		return err
	}
	defer endViews()

	shutdown, err := listen(i.Address(HealthPort), p.Health, registry, conn)
	if err != nil {
		return err
	}
	defer shutdown()
	api, err := gateway.New(ctx, front, p.Named(roster.GatewayName), conn, views)
	if err != nil {
		return err
	}
	group.Go(func() error { return api.Serve(ctx) })
	c := cluster.Client{Bus: conn, Log: views.Source(), Views: views, API: apiclient.New(apiclient.Local(api), gateway.AdminUser)}
	for _, s := range roster.For(i) {
		if s.Name == roster.GatewayName {
			continue
		}
		cfg := configs[s.Name]
		own := c
		o := s.Options(cfg)
		if conn := conns[o.Name]; conn != nil {
			own.Bus = conn
		}
		own.Parts = map[string]*cluster.Client{}
		for _, part := range o.Parts {
			if conn := conns[part.Name]; conn != nil {
				own.Parts[part.Name] = &cluster.Client{Bus: conn, API: c.API}
			}
		}
		group.Go(func() error {
			err := s.Run(ctx, cfg, p.Named(s.Name), &own)
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errors.New("it ended by itself")
			}
			return fmt.Errorf("%s: %w", s.Name, err)
		})
	}
	if i.SimNodes > 0 {
		profile, err := sim.Load(i.SimProfile)
		if err != nil {
			return err
		}
		group.Go(func() error { return sim.Run(ctx, i.SimNodes, profile, &c, p.Named("sim").Logger) })
	}
	group.Go(func() error {
		kit.KeepMemory(ctx)
		return nil
	})
	return group.Wait()
}

// ownConnection are the roles that keep a stream in an account of their own, that others
// than gateways speak to there, or that speak to such. The others share the gateway's.
var ownConnection = map[string]bool{
	"status": true, "events": true, "metrics": true, "agent": true,
	proto.ControllersRole("nodes"): true, proto.ControllersRole("storage"): true, proto.ControllersRole("autoscaling"): true,
}

// busOf is the way to the store, which is started here when it is ours.
type busOf struct {
	instance *instance.Instance
	log      *zap.Logger
	store    *store.Server // nil: not ours
	conns    []*bus.Conn
}

func openBus(ctx context.Context, i *instance.Instance, logger *zap.Logger) (*busOf, error) {
	b := &busOf{instance: i, log: logger}
	if i.Store != "" {
		return b, nil
	}
	o, err := roster.Store(i)
	if err != nil {
		return nil, err
	}
	o.Logger = logger
	b.store, err = store.Start(ctx, o)
	return b, err
}

// connect opens a connection as the client of that name with its key.
func (b *busOf) connect(ctx context.Context, client string) (*bus.Conn, error) {
	o := bus.Options{Name: client, NkeySeedFile: roster.BusKey(b.instance, client), Logger: b.log}
	if b.store != nil {
		o.InProcess = b.store
	} else {
		o.URL, o.CAFile = b.instance.Store, b.instance.StoreCA
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, err := bus.Connect(ctx, o)
	if err == nil {
		b.conns = append(b.conns, conn)
	}
	return conn, err
}

// own opens the connections of the clients that have one, by their names.
func (b *busOf) own(ctx context.Context, configs map[string]any) (map[string]*bus.Conn, error) {
	conns := map[string]*bus.Conn{}
	for _, s := range roster.For(b.instance) {
		whole := s.Options(configs[s.Name])
		for _, o := range append([]cluster.Options{whole}, whole.Parts...) {
			role, _, _ := strings.Cut(o.Name, "/")
			if !ownConnection[role] {
				continue
			}
			var err error
			if conns[o.Name], err = b.connect(ctx, o.Name); err != nil {
				return nil, err
			}
		}
	}
	return conns, nil
}

func (b *busOf) close() {
	for _, conn := range b.conns {
		_ = conn.Drain()
	}
	if b.store != nil {
		b.store.Shutdown()
	}
}

// viewsOf opens the shared views; the returned function waits for their end.
func viewsOf(ctx context.Context, signing gateway.Signing, conn *bus.Conn, logger *zap.Logger) (*statelog.Views, func(), error) {
	trust, err := statelog.LoadTrust(signing.KeyFile, signing.AdoptFile)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	views := statelog.OpenSignedViews(ctx, conn, trust, logger)
	return views, func() {
		cancel()
		_ = views.Wait()
	}, nil
}

// listen serves health, metrics and the store's figures on loopback.
func listen(address string, h *kit.Health, metrics prometheus.Gatherer, conn *bus.Conn) (func(), error) {
	mux := kit.Handler(h, metrics)
	mux.HandleFunc("GET /store", func(w http.ResponseWriter, r *http.Request) {
		streams, err := Streams(r.Context(), conn)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(streams)
	})
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serving health: %w", err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { // ends with Shutdown; waited for there
		defer close(done)
		_ = srv.Serve(l)
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		<-done
	}, nil
}

// Stream is the size of one stream of the store.
type Stream struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	LastSeq  uint64 `json:"lastSeq"`
	Replicas int    `json:"replicas"`
}

// Streams asks the store for the streams of the log.
func Streams(ctx context.Context, conn *bus.Conn) ([]Stream, error) {
	var out []Stream
	for _, s := range proto.StateStreams() {
		state, err := conn.StreamState(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, Stream{s.Name, state.Messages, state.Bytes, state.LastSeq, state.Replicas})
	}
	return out, nil
}
