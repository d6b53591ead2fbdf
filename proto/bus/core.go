package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"kubus.dev/proto"
)

// Header is a message's header; nil when there is none.
type Header = nats.Header

// Msg is a core message. Data is valid until the handler returns, unless kept by a copy.
type Msg struct {
	Subject string
	Reply   string
	Header  Header
	Data    []byte

	conn *Conn
}

// Respond answers a request. It is an error when nobody asked, or asked for an answer
// elsewhere than in an inbox: the server does not check where a client wants its
// answers, and we may publish more than it may.
func (m *Msg) Respond(data []byte) error {
	if m.Reply == "" {
		return fmt.Errorf("answering %s: no reply subject", m.Subject)
	}
	if !proto.IsInbox(m.Reply) {
		return fmt.Errorf("answering %s: %q is no inbox", m.Subject, m.Reply)
	}
	return m.conn.Publish(m.Reply, data)
}

// Subscription ends with Stop.
type Subscription struct{ sub *nats.Subscription }

// Stop ends the subscription; messages in hand are still handled.
func (s *Subscription) Stop() { _ = s.sub.Unsubscribe() }

// Publish sends a core message: at most once, no answer.
func (c *Conn) Publish(subject string, data []byte) error {
	if err := c.nc.Publish(subject, data); err != nil {
		return fmt.Errorf("publishing %s: %w", subject, err)
	}
	return nil
}

// Probe sends a core message whose loss is told: when nobody listens on subject, a
// message for which NobodyListens holds comes to reply.
func (c *Conn) Probe(subject, reply string, data []byte) error {
	if err := c.nc.PublishRequest(subject, reply, data); err != nil {
		return fmt.Errorf("publishing %s: %w", subject, err)
	}
	return nil
}

// NobodyListens tells that the message is the server's word on a Probe or Request
// that found no listener.
func (m *Msg) NobodyListens() bool {
	return len(m.Data) == 0 && m.Header.Get("Status") == "503"
}

// Request sends a core message and waits for one answer, until ctx ends.
func (c *Conn) Request(ctx context.Context, subject string, data []byte) ([]byte, error) {
	msg, err := c.nc.RequestWithContext(ctx, subject, data)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, fmt.Errorf("requesting %s: %w", subject, ErrNoResponders)
	}
	if err != nil {
		return nil, fmt.Errorf("requesting %s: %w", subject, err)
	}
	return msg.Data, nil
}

// RequestAt is Request with the answer expected on reply, a subject of our own.
func (c *Conn) RequestAt(ctx context.Context, subject, reply string, data []byte) ([]byte, error) {
	sub, err := c.nc.SubscribeSync(reply)
	if err != nil {
		return nil, fmt.Errorf("requesting %s: %w", subject, err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.nc.PublishRequest(subject, reply, data); err != nil {
		return nil, fmt.Errorf("requesting %s: %w", subject, err)
	}
	msg, err := sub.NextMsgWithContext(ctx)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, fmt.Errorf("requesting %s: %w", subject, ErrNoResponders)
	}
	if err != nil {
		return nil, fmt.Errorf("requesting %s: %w", subject, err)
	}
	return msg.Data, nil
}

// Subscribe calls h for each message, one after another. With a queue, one
// subscriber of the queue group gets each message.
func (c *Conn) Subscribe(subject, queue string, h func(*Msg)) (*Subscription, error) {
	return c.subscribe(subject, queue, 256<<20, h)
}

// SubscribeWithin is Subscribe without a queue, where at most that many bytes wait for
// h; messages beyond are lost.
func (c *Conn) SubscribeWithin(subject string, bytes int, h func(*Msg)) (*Subscription, error) {
	return c.subscribe(subject, "", bytes, h)
}

func (c *Conn) subscribe(subject, queue string, bytes int, h func(*Msg)) (*Subscription, error) {
	cb := func(m *nats.Msg) {
		h(&Msg{Subject: m.Subject, Reply: m.Reply, Header: m.Header, Data: m.Data, conn: c})
	}
	var sub *nats.Subscription
	var err error
	if queue == "" {
		sub, err = c.nc.Subscribe(subject, cb)
	} else {
		sub, err = c.nc.QueueSubscribe(subject, queue, cb)
	}
	if err != nil {
		return nil, fmt.Errorf("subscribing to %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(-1, bytes); err != nil {
		return nil, fmt.Errorf("subscribing to %s: %w", subject, err)
	}
	return &Subscription{sub}, nil
}

// Flush waits until the server has seen everything published and subscribed so far.
func (c *Conn) Flush(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return c.nc.Flush()
	}
	return c.nc.FlushWithContext(ctx)
}

// NewInbox is a subject of our own to be answered on.
func (c *Conn) NewInbox() string { return c.nc.NewInbox() }

// NewInboxBelow is a subject to be answered on by those who may publish below prefix.
func (c *Conn) NewInboxBelow(prefix string) string { return prefix + "." + nuid.Next() }
