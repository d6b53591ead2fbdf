package frame

import (
	"context"

	"kubus.dev/proto/bus"
)

// Bus is what controllers hear, and whom they ask, without the API.
type Bus interface {
	// Hear calls h for each message of a subject, one after another, until stop is called.
	Hear(subject string, h func(subject string, data []byte)) (stop func(), err error)
	// Request asks and waits for an answer.
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
	// Flush is nil when all that was sent to us until now has come.
	Flush(ctx context.Context) error
	// OnReconnect calls f whenever the bus was away, until stop is called.
	OnReconnect(f func()) (stop func())
}

// OnBus is the Bus of a connection.
func OnBus(conn *bus.Conn) Bus { return onBus{conn} }

type onBus struct{ *bus.Conn }

func (b onBus) Hear(subject string, h func(subject string, data []byte)) (func(), error) {
	sub, err := b.Subscribe(subject, "", func(m *bus.Msg) { h(m.Subject, m.Data) })
	if err != nil {
		return nil, err
	}
	return sub.Stop, nil
}
