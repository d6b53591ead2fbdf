package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"kubus.dev/proto"
)

// ErrNoResponders says that nobody listens on the subject; nothing was done.
var ErrNoResponders = errors.New("nobody answers on the subject")

// Options say where the bus is and who we are. One of URL and InProcess is set.
type Options struct {
	URL       string // nats://host:port[,…] or tls://…
	InProcess interface {
		InProcessConn() (net.Conn, error)
	}
	Name          string // shown by the server's connection list; the inbox prefix follows from it (proto.InboxPrefix)
	NkeySeedFile  string
	CAFile        string
	NoWait        bool // give up at the first refusal instead of waiting for the server
	Later         bool // return though the server does not answer, and connect when it does, which is a reconnect
	Logger        *zap.Logger
	ReconnectWait time.Duration // default 250 ms
}

// Conn is a connection to the bus. It reconnects for ever.
type Conn struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	log *zap.Logger

	mu          sync.Mutex
	onReconnect []*func()
	session     context.Context // ends when the server is gone
	lose        context.CancelFunc
}

// Connect dials the bus and retries until ctx ends (or once, with NoWait or Later). Before it is
// connected, every request and publish fails.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	c := &Conn{log: o.Logger}
	c.lost()
	opts, err := c.options(o)
	if err != nil {
		return nil, err
	}
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c.nc, err = nats.Connect(o.URL, opts...)
		if err == nil {
			break
		}
		err = fmt.Errorf("connecting to the bus at %s: %w", target(o), err)
		if o.Later && !errors.Is(err, nats.ErrAuthorization) {
			c.log.Warn("the bus does not answer yet", zap.Error(err))
			if c.nc, err = nats.Connect(o.URL, append(opts, nats.RetryOnFailedConnect(true), nats.ConnectHandler(c.back))...); err != nil {
				return nil, fmt.Errorf("connecting to the bus at %s: %w", target(o), err)
			}
			break
		}
		if o.NoWait || errors.Is(err, nats.ErrAuthorization) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
	js := []jetstream.JetStreamOpt{jetstream.WithPublishAsyncMaxPending(1 << 16), jetstream.WithPublishAsyncTimeout(time.Minute), jetstream.WithDefaultTimeout(5 * time.Second)}
	if prefix := proto.StreamAPI(o.Name); prefix != "" && o.NkeySeedFile != "" { // without keys there are no accounts
		c.js, err = jetstream.NewWithAPIPrefix(c.nc, prefix, js...)
	} else {
		c.js, err = jetstream.New(c.nc, js...)
	}
	if err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	return c, nil
}

func target(o Options) string {
	if o.InProcess != nil {
		return "the embedded server"
	}
	return o.URL
}

func (c *Conn) options(o Options) ([]nats.Option, error) {
	wait := o.ReconnectWait
	if wait == 0 {
		wait = 250 * time.Millisecond
	}
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(wait),
		nats.ReconnectJitter(wait/2, wait),
		nats.RetryOnFailedConnect(false),
		nats.ReconnectBufSize(-1), // a publish while away fails at once: the caller knows what was sent
		nats.PingInterval(20 * time.Second),
		nats.Timeout(5 * time.Second),
		nats.CustomInboxPrefix(proto.InboxPrefix(o.Name)),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.lost()
			if err != nil {
				c.log.Warn("the bus is gone, reconnecting", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(c.back),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			c.log.Warn("bus error", zap.String("subject", subject), zap.Error(err))
		}),
	}
	if o.InProcess != nil {
		opts = append(opts, nats.InProcessServer(o.InProcess))
	}
	if o.NkeySeedFile != "" {
		key, err := nats.NkeyOptionFromSeed(o.NkeySeedFile)
		if err != nil {
			return nil, fmt.Errorf("reading the bus key %s: %w", o.NkeySeedFile, err)
		}
		opts = append(opts, key)
	}
	if o.CAFile != "" {
		opts = append(opts, nats.RootCAs(o.CAFile), nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12}), nats.RootCAs(o.CAFile))
	}
	return opts, nil
}

// lost ends what waits for an answer of the server that was there: it does not come any more.
func (c *Conn) lost() {
	session, lose := context.WithCancel(context.Background())
	c.mu.Lock()
	old := c.lose
	c.session, c.lose = session, lose
	c.mu.Unlock()
	if old != nil {
		old()
	}
}

// asking gives the context of a request: it ends with ctx, and when the server is gone.
func (c *Conn) asking(ctx context.Context) (context.Context, context.CancelFunc) {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(session, func() { cancel(ErrDisconnected) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// back tells all who want to know that the bus answers again.
func (c *Conn) back(*nats.Conn) {
	c.log.Info("the bus is back")
	c.mu.Lock()
	handlers := slices.Clone(c.onReconnect)
	c.mu.Unlock()
	for _, h := range handlers {
		(*h)()
	}
}

// OnReconnect registers a function that runs after each reconnect, until stop is called.
func (c *Conn) OnReconnect(f func()) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	registered := &f
	c.onReconnect = append(c.onReconnect, registered)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.onReconnect, registered); i >= 0 {
			c.onReconnect = slices.Delete(slices.Clone(c.onReconnect), i, i+1)
		}
	}
}

// Connected tells whether the server is there right now.
func (c *Conn) Connected() bool { return c.nc.IsConnected() }

// Drain flushes what was published, ends the subscriptions and closes.
func (c *Conn) Drain() error {
	if err := c.nc.FlushTimeout(2 * time.Second); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		c.log.Debug("flushing the bus", zap.Error(err))
	}
	c.nc.Close()
	return nil
}
