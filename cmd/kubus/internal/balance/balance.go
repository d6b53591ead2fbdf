// Package balance is one address for several gateways: each connection goes to the next
// of them that takes it. It looks into nothing, so TLS is between client and gateway.
package balance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	dialTimeout = time.Second
	// keepAlive ends a connection whose other side is gone without a word.
	keepAlive = 15 * time.Second
)

// Balancer passes connections on.
type Balancer struct {
	backends []string
	next     atomic.Uint32
	log      *zap.Logger
}

// New passes connections on to backends, host:port each.
func New(logger *zap.Logger, backends ...string) (*Balancer, error) {
	if len(backends) == 0 {
		return nil, errors.New("nobody to pass connections on to")
	}
	for _, b := range backends {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return nil, fmt.Errorf("%q is no host:port: %w", b, err)
		}
	}
	return &Balancer{backends: backends, log: logger}, nil
}

// Serve takes connections until ctx ends, and then ends them.
func (b *Balancer) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		client, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("taking connections: %w", err)
		}
		open.Go(func() { b.pass(ctx, client) })
	}
}

// pass copies both ways until one side ends or ctx does.
func (b *Balancer) pass(ctx context.Context, client net.Conn) {
	defer client.Close()
	backend, err := b.dial(ctx)
	if err != nil {
		b.log.Warn("nobody takes a connection", zap.Error(err))
		return
	}
	defer backend.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = backend.Close()
	})
	defer stop()
	var done sync.WaitGroup
	copyTo := func(to, from net.Conn) {
		_, err := io.Copy(to, from)
		if half, ok := to.(*net.TCPConn); err == nil && ok {
			_ = half.CloseWrite() // the other direction may go on
			return
		}
		_ = to.Close()
		_ = from.Close()
	}
	done.Go(func() { copyTo(backend, client) })
	done.Go(func() { copyTo(client, backend) })
	done.Wait()
}

// dial asks each backend once, beginning with the one whose turn it is.
func (b *Balancer) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	first := int(b.next.Add(1))
	var errs []error
	for i := range b.backends {
		conn, err := d.DialContext(ctx, "tcp", b.backends[(first+i)%len(b.backends)])
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
