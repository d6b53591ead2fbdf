package tunnel

import (
	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// Side is whose end of a tunnel ours is: where we receive, and where the other end
// may have us send. The zero value is that of a service or an agent.
type Side struct{ gatewayWith string }

// GatewayWith is a gateway's side of a tunnel with the client of that identity.
func GatewayWith(identity string) Side { return Side{identity} }

func (s Side) inbox(conn *bus.Conn) string {
	if s.gatewayWith != "" {
		return conn.NewInboxBelow(kubus.GatewayInbox(s.gatewayWith))
	}
	return conn.NewInbox()
}

func (s Side) maySend(subject string) bool {
	if s.gatewayWith != "" {
		return kubus.MayBeAnswered(subject)
	}
	return kubus.IsInbox(subject)
}
