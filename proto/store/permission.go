package store

import "kubus.dev/proto"

// OperatorRole may do everything in the account of the log. The operator's command uses
// it, and the process that runs all services.
var OperatorRole = proto.Role{Name: "operator", Publish: []string{">"}, Subscribe: []string{">"}}

// Permissions are the subjects that a role may publish and subscribe to in its account:
// what the role names, the API as its identities, the log where it reads it, the
// consumers of its account's stream, and the inboxes. They are the second wall: what a
// client makes the server publish passes them, and no account (Accounts).
func Permissions(r proto.Role) (publish, subscribe []string) {
	own := proto.InboxPrefix(r.Client()) + ".>"
	publish = append(publish, r.Publish...)
	publish = append(publish, own)
	if r.Name == "gateway" {
		publish = append(publish, "_INBOX.>", "_R_.>")
	}
	for _, identity := range r.Identities {
		publish = append(publish, "api."+proto.Token(identity)+".*")
	}
	if len(r.Reads) > 0 {
		publish = append(publish, "log."+proto.Token(r.Client())+".*")
	}
	subscribe = append(subscribe, r.Subscribe...)
	subscribe = append(subscribe, own)
	for _, peer := range r.Peers() {
		publish = append(publish, proto.GatewayInbox(peer)+".>")
		subscribe = append(subscribe, proto.PeerInbox(peer)+".>")
	}
	if len(r.Peers()) > 0 {
		subscribe = append(subscribe, proto.GatewayHelloSubject)
	}
	if r.Name == "agent" {
		publish = append(publish, "_R_.>") // its answers to gateways; there is nobody else in its account
	}
	if r.Stream != "" {
		publish = append(publish, consumerRequests(r.Stream)...)
	}
	if r.Owns {
		publish = append(publish, "$JS.API.STREAM.CREATE."+r.Stream, "$JS.API.STREAM.UPDATE."+r.Stream)
	}
	return publish, subscribe
}

// consumerRequests are those of an ordered consumer.
func consumerRequests(stream string) []string {
	return []string{
		"$JS.API.STREAM.INFO." + stream,
		"$JS.API.CONSUMER.CREATE." + stream + ".>",
		"$JS.API.CONSUMER.INFO." + stream + ".*",
		"$JS.API.CONSUMER.DELETE." + stream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + stream + ".*",
	}
}
