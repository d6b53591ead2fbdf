package envtest

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/pki"
	"kubus.dev/gateway"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/store"
	"kubus.dev/services/kit"
)

// APIServer serves until ctx ends. Only one may work over an etcd at a time.
func APIServer(ctx context.Context, f APIServerFlags, logger *zap.Logger) error {
	at, err := storeOf(ctx, f.EtcdServers)
	if err != nil {
		return err
	}
	lock, err := instance.Lock(at.Dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	cfg, err := f.config(at.Dir, pki.Options{Now: time.Now()})
	if err != nil {
		return err
	}
	conn, stop, err := open(ctx, at, logger)
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	views := statelog.OpenViews(ctx, conn, logger)
	p := &kit.Process{Logger: logger, Metrics: kit.NewRegistry(), Health: kit.NewHealth(), Version: kit.Version}
	g, err := gateway.New(ctx, cfg, p, conn, views)
	if err == nil {
		err = g.Serve(ctx)
	}
	cancel()
	_ = views.Wait() // they end with ctx
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// open starts the store in this process; nobody else reaches it.
func open(ctx context.Context, at Store, logger *zap.Logger) (*bus.Conn, func(), error) {
	s, err := store.Start(ctx, store.Options{Dir: filepath.Join(at.Dir, "store"), Name: "kubus-envtest", Unsynced: at.UnsafeNoFsync, Logger: logger})
	if err != nil {
		return nil, nil, err
	}
	conn, err := bus.Connect(ctx, bus.Options{InProcess: s, Name: "gateway", Logger: logger})
	if err != nil {
		s.Shutdown()
		return nil, nil, err
	}
	return conn, func() {
		_ = conn.Drain()
		s.Shutdown()
	}, nil
}
