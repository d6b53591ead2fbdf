package proto

import "strings"

// Inboxes are where answers go. A client may subscribe below its own prefixes only.
// What a gateway and a client send each other beyond one answer has two prefixes a
// peer, one for each direction, which are all of it that crosses between their
// accounts. A peer is the Kubernetes user that the client speaks as or, for the reading
// of the log, the client itself.
const (
	inboxes     = "_INBOX."
	answers     = "_R_." // where the server leads the answer to a request from another account
	gatewayName = "gateway"
	peerName    = "peer"
	agentName   = "agent"
	proxyName   = "proxy"
)

// InboxPrefix is below what a client receives answers. Its name is that of its role,
// or AgentName or ProxyName.
func InboxPrefix(client string) string {
	if role, node, ok := strings.Cut(client, "/"); ok {
		return inboxes + Token(role) + "." + Token(node)
	}
	if client == "" {
		client = "kubus"
	}
	return inboxes + Token(client)
}

// AgentName is the name of a node's agent as a client: each has an inbox of its own.
func AgentName(node string) string { return agentName + "/" + node }

// ProxyName is the name of a node's proxy as a client.
func ProxyName(node string) string { return proxyName + "/" + node }

// GatewayInbox is below what a gateway receives from a peer: nobody reaches what it
// awaits from another, from the streams least of all.
func GatewayInbox(peer string) string { return inboxes + gatewayName + "." + Token(peer) }

// PeerInbox is below what a peer receives from gateways. A gateway sends to no other
// inbox of this peer's choice.
func PeerInbox(peer string) string { return inboxes + peerName + "." + Token(peer) }

// Below tells whether subject is one of those below prefix.
func Below(prefix, subject string) bool {
	rest, ok := strings.CutPrefix(subject, prefix+".")
	return ok && rest != "" && !strings.ContainsAny(rest, "*> \t\r\n")
}

// IsInbox tells whether subject is an inbox, or stands for one in another account.
// Whoever answers checks it: the subject comes from the one who asks, the right to
// publish there is the answering side's.
func IsInbox(subject string) bool {
	return strings.HasPrefix(subject, inboxes) || strings.HasPrefix(subject, answers)
}

// MayBeAnswered tells whether a gateway may answer there what a peer asked it: an inbox,
// but no gateway's and no other peer's.
func MayBeAnswered(peer, subject string) bool {
	if !IsInbox(subject) || strings.HasPrefix(subject, inboxes+gatewayName+".") {
		return false
	}
	return !strings.HasPrefix(subject, inboxes+peerName+".") || Below(PeerInbox(peer), subject)
}
