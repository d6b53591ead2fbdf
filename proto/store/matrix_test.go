package store

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"kubus.dev/proto"
)

var update = flag.Bool("update", false, "rewrite testdata/matrix.txt")

// credential is one user of the server under test.
type credential struct {
	name string // of the role; agents have their node's with it
	role proto.Role
	seed []byte
	c    *client
}

// credentials are one of each role, and the agent of a second node.
func credentials(t *testing.T) ([]*credential, []User) {
	t.Helper()
	roles := append(proto.Roles("node-1"), OperatorRole)
	for _, r := range proto.Roles("node-2") {
		if r.Node != "" {
			roles = append(roles, r)
		}
	}
	var out []*credential
	var users []User
	for _, r := range roles {
		seed, public, err := NewKey()
		if err != nil {
			t.Fatal(err)
		}
		name := r.Name
		if r.Node != "" {
			name += "@" + r.Node
		}
		out, users = append(out, &credential{name: name, role: r, seed: seed}), append(users, User{PublicKey: public, Role: r})
	}
	return out, users
}

// subjects are the contract's, with the names that matter put in, and what the
// server itself answers.
func subjects(creds []*credential) []string {
	var users, clients []string
	for _, c := range creds {
		if len(c.role.Reads) > 0 {
			clients = append(clients, proto.Token(c.role.Client()))
		}
		for i, identity := range c.role.Identities {
			if i == 0 { // of a group of controllers, one stands for all
				users = append(users, proto.Token(identity))
			}
		}
	}
	users = append(users, "system=3Aapiserver", "system=3Aserviceaccount=3Adefault=3Adefault")
	var streams []string
	for _, s := range proto.Streams() {
		streams = append(streams, s.Name)
	}
	values := map[string][]string{"USER": users, "CLIENT": clients, "PEER": append(users[:len(users):len(users)], clients...), "STREAM": streams, "NODE": {"node-1", "node-2"}}
	for _, c := range creds {
		prefix := strings.TrimPrefix(proto.InboxPrefix(c.role.Client()), "_INBOX.")
		values["ROLE"] = append(values["ROLE"], prefix)
	}
	var out []string
	for _, use := range proto.Contract() {
		out = append(out, expand(use.Subject, values)...)
	}
	for _, api := range []string{
		"STREAM.CREATE.STREAM", "STREAM.UPDATE.STREAM", "STREAM.DELETE.STREAM", "STREAM.PURGE.STREAM", "STREAM.SNAPSHOT.STREAM", "STREAM.RESTORE.STREAM",
		"STREAM.MSG.DELETE.STREAM", "STREAM.MSG.GET.STREAM", "STREAM.INFO.STREAM", "DIRECT.GET.STREAM", "CONSUMER.CREATE.STREAM", "CONSUMER.CREATE.STREAM.x",
		"CONSUMER.DURABLE.CREATE.STREAM.x", "CONSUMER.DELETE.STREAM.x", "CONSUMER.MSG.NEXT.STREAM.x", "CONSUMER.LIST.STREAM",
	} {
		for _, s := range streams {
			out = append(out, "$JS.API."+strings.Replace(api, ".STREAM", "."+s, strings.Count(api, ".STREAM")))
		}
	}
	return append(out, "$JS.API.INFO", "$JS.API.STREAM.LIST", "$SYS.REQ.SERVER.PING", "$JS.ACK.STATE.x.1.1.1.1.1", proto.StreamAdvisory("DELETED", "STATE"), "foreign", ">", "state.>", "_INBOX.>", "_INBOX.gateway.>", "_INBOX.peer.>", "_R_.x", "_R_.>", "api.*.*", "log.*.*", "node.*.tunnel", "node.*.volume", "report.>")
}

func expand(subject string, values map[string][]string) []string {
	for name, all := range values {
		tokens := strings.Split(subject, ".")
		if i := slices.Index(tokens, name); i >= 0 {
			var out []string
			for _, v := range all {
				tokens[i] = v
				out = append(out, expand(strings.Join(tokens, "."), values)...)
			}
			return out
		}
	}
	return []string{subject}
}

// The matrix is what a real server lets each credential do. A new subject gets a line
// by being in proto.Contract, where a test sees to it that it is.
func TestEachCredentialMayUseItsOwnSubjectsOnly(t *testing.T) {
	const file = "testdata/matrix.txt"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	inEachForm(t, func(t *testing.T, b *testBus) {
		got := b.matrix()
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			return
		}
		if string(want) != got {
			for line := range strings.Lines(got) {
				if !strings.Contains(string(want), line) {
					t.Errorf("now: %s", line)
				}
			}
			t.Errorf("%s says otherwise; if the change is meant: go test ./proto/store -run TestEachCredential -update", file)
		}
	})
}

// matrix tells who may use which subject.
func (b *testBus) matrix() string {
	b.t.Helper()
	var out strings.Builder
	out.WriteString("# What each credential of the bus may do, the operator's apart, which may do everything.\n# Made by: go test ./proto/store -run TestEachCredential -update\n")
	for _, subject := range subjects(b.creds) {
		var publish, subscribe []string
		for _, c := range b.creds {
			pub, sub := c.c.may(subject)
			if c.role.Name == OperatorRole.Name {
				if !pub && !strings.ContainsAny(subject, "*>") || !sub {
					b.t.Errorf("the operator may not use %s", subject)
				}
				continue
			}
			if pub {
				publish = append(publish, c.name)
			}
			if sub {
				subscribe = append(subscribe, c.name)
			}
		}
		fmt.Fprintf(&out, "%s: publish %s; subscribe %s\n", subject, joined(publish), joined(subscribe))
		never(b.t, subject, publish, subscribe)
	}
	return out.String()
}

// never holds what no update of the matrix may give away.
func never(t *testing.T, subject string, publish, subscribe []string) {
	t.Helper()
	only := func(who []string, allowed ...string) {
		for _, name := range who {
			if !slices.Contains(allowed, name) {
				t.Errorf("%s may use %s", name, subject)
			}
		}
	}
	tokens := strings.Split(subject, ".")
	switch {
	case tokens[0] == "node" && tokens[len(tokens)-1] == "volume":
		only(publish, "controllers-storage")
	case strings.HasPrefix(subject, "state"), tokens[0] == "watermark", tokens[0] == "node", subject == proto.GatewayHelloSubject:
		only(publish, "gateway")
		if tokens[0] != "node" && subject != proto.GatewayHelloSubject {
			only(subscribe, "gateway")
		}
	case tokens[0] == "api", tokens[0] == "log":
		only(subscribe, "gateway")
	case strings.HasPrefix(subject, "$JS.EVENT."):
		only(publish)
		only(subscribe, "gateway")
	case tokens[0] == "$SYS", subject == ">", subject == "foreign", subject == "_R_.>":
		only(publish)
		only(subscribe)
	case strings.HasPrefix(subject, "$JS.API.STREAM.DELETE"), strings.HasPrefix(subject, "$JS.API.STREAM.PURGE"), strings.HasPrefix(subject, "$JS.API.STREAM.SNAPSHOT"),
		strings.HasPrefix(subject, "$JS.API.STREAM.RESTORE"), strings.HasPrefix(subject, "$JS.API.STREAM.MSG.DELETE"),
		strings.HasPrefix(subject, "$JS.API.CONSUMER.DURABLE"), strings.HasPrefix(subject, "$JS.API.DIRECT"):
		only(publish)
	case strings.HasPrefix(subject, "$JS.API.") && slices.ContainsFunc(proto.StateStreams(), func(s proto.Stream) bool { return strings.Contains(subject+".", "."+s.Name+".") }):
		only(publish, "gateway")
	case strings.HasPrefix(subject, "$JS.API.STREAM.") && strings.Contains(subject, "REPORTS"):
		only(publish, "gateway", "status")
	case strings.HasPrefix(subject, "$JS.API.STREAM.") && strings.Contains(subject, "CHANGES"):
		only(publish, "gateway", "automation")
	}
	for _, node := range []string{"node-1", "node-2"} {
		if strings.Contains(subject, node) {
			for _, name := range append(publish, subscribe...) {
				if strings.HasPrefix(name, "agent@") && name != "agent@"+node {
					t.Errorf("%s may use %s", name, subject)
				}
			}
		}
	}
}

func joined(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, " ")
}
