package proto

import "strings"

// Inboxes are where answers go. A client may subscribe below its own prefix only,
// and publish below another's only where somebody speaks with it.
const (
	inboxes     = "_INBOX."
	gatewayName = "gateway"
	agentName   = "agent"
)

// InboxPrefix is below what a client receives answers. Its name is that of its role,
// or AgentName.
func InboxPrefix(client string) string {
	if node, ok := strings.CutPrefix(client, agentName+"/"); ok {
		return inboxes + agentName + "." + Token(node)
	}
	if client == "" {
		client = "kubus"
	}
	return inboxes + Token(client)
}

// AgentName is the name of a node's agent as a client: each has an inbox of its own.
func AgentName(node string) string { return agentName + "/" + node }

// GatewayInbox is below what the answering side of the API, and the node of a tunnel
// that a gateway opens, may send to it: nobody reaches what a gateway awaits from
// another, from the streams least of all.
func GatewayInbox(identity string) string { return inboxes + gatewayName + "." + Token(identity) }

// IsInbox tells whether subject is an inbox. Whoever answers checks it: the subject
// comes from the one who asks, the right to publish there is the answering side's.
func IsInbox(subject string) bool { return strings.HasPrefix(subject, inboxes) }

// MayBeAnswered tells whether a gateway may send there what a client asks it to: an
// inbox, but no gateway's.
func MayBeAnswered(subject string) bool {
	return IsInbox(subject) && !strings.HasPrefix(subject, inboxes+gatewayName+".")
}
