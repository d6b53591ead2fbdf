package tunnel

import (
	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// Side is whose end of a tunnel ours is: where we receive, where the other end may have
// us send, and what it may send us.
type Side struct {
	gateway bool
	peer    string
	channels
	quota *Quota
}

// GatewayWith is a gateway's side of a tunnel with that peer: a user, or a client that
// reads the log.
func GatewayWith(peer string) Side { return Side{gateway: true, peer: peer, channels: Channels} }

// PeerAs is the other side: that of the service or agent that is the peer.
func PeerAs(peer string) Side { return Side{peer: peer, channels: Channels} }

// SendOnly is the same side of a tunnel on which the other end sends no data.
func (s Side) SendOnly() Side {
	s.channels = 0
	return s
}

// Within is the same side, which accepts no tunnel beyond the quota.
func (s Side) Within(q *Quota) Side {
	s.quota = q
	return s
}

func (s Side) inbox(conn *bus.Conn) string {
	if s.gateway {
		return conn.NewInboxBelow(kubus.GatewayInbox(s.peer))
	}
	return conn.NewInboxBelow(kubus.PeerInbox(s.peer))
}

func (s Side) maySend(subject string) bool {
	if s.gateway {
		return kubus.Below(kubus.PeerInbox(s.peer), subject)
	}
	return kubus.Below(kubus.GatewayInbox(s.peer), subject)
}
