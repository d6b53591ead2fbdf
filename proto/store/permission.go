package store

import "kubus.dev/proto"

// OperatorRole may do everything. The operator's command uses it, and the process
// that runs all services on one connection.
var OperatorRole = proto.Role{Name: "operator", Publish: []string{">"}, Subscribe: []string{">"}}

// Permissions are the subjects that a role may publish and subscribe to: what the
// role names, the API as its identities, the consumers of the streams it reads,
// and the inboxes. A client's own inbox is _INBOX.<role>.>, an agent's
// _INBOX.agent.<node>.>, so that no client can read the answers to another; of the
// gateway's, a client reaches the part in which it speaks with this client.
func Permissions(r proto.Role) (publish, subscribe []string) {
	own := proto.InboxPrefix(r.Client()) + ".>"
	publish = append(publish, r.Publish...)
	publish = append(publish, own)
	if r.Name == "gateway" {
		publish = append(publish, "_INBOX.>")
	}
	for _, identity := range r.Identities {
		publish = append(publish, "api."+proto.Token(identity)+".>", proto.GatewayInbox(identity)+".>")
	}
	subscribe = append(subscribe, r.Subscribe...)
	subscribe = append(subscribe, own, proto.GatewayHelloSubject)
	for _, stream := range r.Reads {
		publish = append(publish, readSubjects(stream)...)
		subscribe = append(subscribe, proto.WatermarkSubject(stream))
	}
	return publish, subscribe
}

// readSubjects are the requests of an ordered consumer and of a look at one message.
func readSubjects(stream string) []string {
	return []string{
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.STREAM.MSG.GET." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
	}
}
