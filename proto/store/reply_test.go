package store

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
)

// form starts a bus and gives the addresses of its servers.
type form func(t *testing.T, o Options) (addresses []string)

// forms are the embedded server, a separate one that reads what Render writes, and three
// of those that are one.
var forms = map[string]form{
	"embedded": func(t *testing.T, o Options) []string {
		o.Listen, o.Logger = "127.0.0.1:0", zaptest.NewLogger(t)
		s, err := Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Shutdown)
		return []string{strings.TrimPrefix(s.ClientURL(), "nats://")}
	},
	"separate": func(t *testing.T, o Options) []string {
		s := serve(t, configured(t, o, ""))
		return []string{strings.TrimPrefix(s.ClientURL(), "nats://")}
	},
	"three servers": threeServers,
}

// configured gives the options of a server that reads a file.
func configured(t *testing.T, o Options, more string) *server.Options {
	t.Helper()
	o.Listen = "127.0.0.1:4222"
	config, err := Render(o)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nats-server.conf")
	if err := os.WriteFile(file, append(config, more...), 0o600); err != nil {
		t.Fatal(err)
	}
	native, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	native.Port = server.RANDOM_PORT
	return native
}

func threeServers(t *testing.T, o Options) (addresses []string) {
	var servers []*server.Server
	var routes []string
	for range 3 {
		routes = append(routes, freeAddress(t))
	}
	for i, listen := range routes {
		o.Dir, o.Name = t.TempDir(), fmt.Sprintf("kubus-%d", i+1)
		s := serve(t, configured(t, o, fmt.Sprintf("cluster {\n  name: kubus\n  listen: %q\n  routes: [\"nats://%s\"]\n}\n", listen, strings.Join(routes, `", "nats://`))))
		servers, addresses = append(servers, s), append(addresses, strings.TrimPrefix(s.ClientURL(), "nats://"))
	}
	together := func() bool {
		leads := false
		for _, s := range servers {
			if s.NumRoutes() < 2 || s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) < len(servers) {
				return false
			}
			leads = leads || s.JetStreamIsLeader()
		}
		return leads
	}
	for deadline := time.Now().Add(2 * time.Minute); !together(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the three servers do not become one")
		}
	}
	return addresses
}

// oneAccount is as it was before there were accounts: the same permissions, and everybody
// in the server's global account.
func oneAccount(t *testing.T, o Options) []string {
	native := &server.Options{Host: "127.0.0.1", JetStream: true, StoreDir: o.Dir}
	for _, u := range o.Users {
		publish, subscribe := Permissions(u.Role)
		native.Nkeys = append(native.Nkeys, &server.NkeyUser{Nkey: u.PublicKey, Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
		}})
	}
	return []string{strings.TrimPrefix(serve(t, native).ClientURL(), "nats://")}
}

func serve(t *testing.T, native *server.Options) *server.Server {
	t.Helper()
	native.Port, native.NoSigs, native.NoLog = server.RANDOM_PORT, true, true
	s, err := server.NewServer(native)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start() // ends with Shutdown
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server takes no connections")
	}
	return s
}

func inEachForm(t *testing.T, test func(t *testing.T, b *testBus)) { inForms(t, forms, test) }

func inForms(t *testing.T, forms map[string]form, test func(t *testing.T, b *testBus)) {
	for name, start := range forms {
		t.Run(name, func(t *testing.T) {
			creds, users := credentials(t)
			b := &testBus{t: t, creds: creds, watchers: map[string]*client{}, markers: map[string][]*client{}}
			seeds := map[string][]byte{}
			for _, c := range creds { // somebody in each account who hears everything
				watcher := proto.Role{Name: c.role.Name, Node: c.role.Node, Stream: c.role.Stream, Publish: []string{">"}, Subscribe: []string{">"}}
				seed, public, err := NewKey()
				if err != nil {
					t.Fatal(err)
				}
				seeds[c.role.Account()] = seed
				users = append(users, User{PublicKey: public, Role: watcher})
			}
			b.addresses = start(t, Options{Dir: t.TempDir(), Name: "kubus-1", Users: users})
			for i, c := range creds {
				c.c = dial(t, b.addresses[i%len(b.addresses)], c.seed)
			}
			for i, account := range slices.Sorted(maps.Keys(seeds)) {
				b.watchers[account] = dial(t, b.addresses[(i+1)%len(b.addresses)], seeds[account])
				if len(b.addresses) == 1 {
					continue
				}
				b.watchers[account].subscribe("settled.*")
				for _, address := range b.addresses {
					b.markers[account] = append(b.markers[account], dial(t, address, seeds[account]))
				}
			}
			test(t, b)
		})
	}
}

type testBus struct {
	t         *testing.T
	creds     []*credential
	addresses []string             // of the servers; credentials and watchers are spread over them
	watchers  map[string]*client   // by account
	markers   map[string][]*client // by account, one a server; none where there is one server
	round     int
}

// arrived waits until watchers have what was sent before: between two servers the messages of
// an account come in order, so what was sent by each server's marker comes last. It is sent
// again until it comes, since servers tell each other who listens to what as they get to it.
func (b *testBus) arrived(more ...*credential) {
	b.t.Helper()
	if len(b.addresses) == 1 {
		return
	}
	b.round++
	for account, w := range b.watchers {
		b.marked(w, b.markers[account], fmt.Sprintf("settled.%d-", b.round))
	}
	for _, c := range more {
		b.marked(c.c, b.markers[c.role.Account()], fmt.Sprintf("api.settled.%d-", b.round))
	}
}

func (b *testBus) marked(at *client, markers []*client, subject string) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		for i, m := range markers {
			m.post(subject+fmt.Sprint(i), "", "")
			m.settle()
		}
		at.settle()
		heard := map[string]bool{}
		for _, m := range at.got {
			if strings.HasPrefix(m.subject, subject) {
				heard[m.subject] = true
			}
		}
		if len(heard) == len(markers) {
			break
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("of %d servers %v are heard", len(markers), heard)
		}
	}
	at.got = slices.DeleteFunc(at.got, func(m received) bool {
		return strings.HasPrefix(m.subject, "settled.") || strings.HasPrefix(m.subject, "api.settled.")
	})
}

// heard gives what an account's watcher has heard since the last call.
func (b *testBus) heard(account string) []received {
	b.t.Helper()
	return slices.DeleteFunc(b.watchers[account].take(), func(m received) bool {
		return strings.HasPrefix(m.subject, "settled.") || strings.HasPrefix(m.subject, "api.settled.") // sent twice
	})
}

func (b *testBus) cred(name string) *credential {
	b.t.Helper()
	i := slices.IndexFunc(b.creds, func(c *credential) bool { return c.name == name })
	if i < 0 {
		b.t.Fatalf("no credential %s", name)
	}
	return b.creds[i]
}

func (c *credential) inbox() string { return proto.InboxPrefix(c.role.Client()) }

func (c *credential) ask(subject, data string) string {
	c.c.t.Helper()
	return c.c.request(c.inbox(), subject, data)
}

// streams makes each stream by whoever may: its owner, or else the operator.
func (b *testBus) streams() {
	b.t.Helper()
	for _, s := range proto.Streams() {
		config := fmt.Sprintf(`{"name":%q,"subjects":["%s"],"max_msgs_per_subject":1,"retention":"limits","storage":"file","num_replicas":%d,"allow_msg_ttl":true}`, s.Name, strings.Join(s.Subjects, `","`), len(b.addresses))
		made, answer := false, ""
		for deadline := time.Now().Add(time.Minute); !made; {
			for _, by := range []struct{ name, api string }{{"status", "$JS.API"}, {"events", proto.StreamAPI("events")}, {"operator", "$JS.API"}} {
				answer = b.cred(by.name).ask(by.api+".STREAM.CREATE."+s.Name, config)
				if made = strings.Contains(answer, `"did_create":true`); made {
					break
				}
			}
			if !made && (len(b.addresses) == 1 || time.Now().After(deadline)) { // of several, each has to hear first who leads
				b.t.Fatalf("nobody could make %s: %s", s.Name, answer)
			}
		}
	}
}

// object stores an object as a gateway does and gives its subject.
func (b *testBus) object(subject, data string) {
	b.t.Helper()
	if answer := b.cred("gateway").ask(subject, data); !strings.Contains(answer, `"seq"`) {
		b.t.Fatalf("storing %s: %s", subject, answer)
	}
}

func (b *testBus) stored(subject string) string {
	b.t.Helper()
	return b.cred("operator").ask("$JS.API.STREAM.MSG.GET.STATE", `{"last_by_subj":"`+subject+`"}`)
}

// Finding 1(a): the acknowledgement of a report, led by its reply subject to an
// object's, became the object's newest version.
func TestANodesReplySubjectReplacesNoObject(t *testing.T) {
	inEachForm(t, func(t *testing.T, b *testBus) {
		b.streams()
		for _, victim := range []string{
			proto.Key{GroupResource: proto.GroupResource{Group: "rbac.authorization.k8s.io", Resource: "clusterrolebindings"}, Name: "x"}.Subject(),
			proto.FenceSubject("controllers-nodes"),
		} {
			if before, after := b.reportedOnto(victim); after != before {
				t.Errorf("%s was %s and is %s", victim, before, after)
			}
		}
	})
}

// reportedOnto has a node report with a victim's subject as the reply, and gives what was
// stored there before and after.
func (b *testBus) reportedOnto(victim string) (before, after string) {
	b.t.Helper()
	b.object(victim, "first")
	before = b.stored(victim)
	node := b.cred("agent@node-1")
	if refused := node.c.publish("report.node-1.pod.a.b", victim, "status"); refused != "" {
		b.t.Fatal(refused)
	}
	// The stream answers one after the other: with the second answer here, the first has
	// been published, wherever to. What STATE takes after that, it takes behind it.
	if answer := node.ask("report.node-1.pod.a.b", "status"); !strings.Contains(answer, `"seq":`) {
		b.t.Errorf("a report was not stored: %q", answer)
	}
	b.object("state.core.pods.behind.it", "{}")
	return before, b.stored(victim)
}

// Finding 1(b): the empty answer to a pull request, led to the request that deletes a
// stream, was a valid one.
func TestAReadersPullRequestDeletesNoStream(t *testing.T) {
	inEachForm(t, func(t *testing.T, b *testBus) {
		b.streams()
		b.object("state.core.pods.a.b", "{}")
		b.watchers[proto.LogAccount].subscribe("$JS.API.STREAM.DELETE.STATE")
		b.arrived()
		for _, reader := range b.creds {
			if reader.role.Account() == proto.LogAccount {
				continue
			}
			b.pulledOnto(reader)
			b.object("state.core.pods.behind.it", "{}") // what STATE was sent before, it has taken
			if got := b.stored("state.core.pods.a.b"); !strings.Contains(got, `"data":"e30="`) {
				t.Fatalf("after %s the pod is %s", reader.name, got)
			}
			b.arrived()
			if asked := b.heard(proto.LogAccount); len(asked) > 0 {
				t.Fatalf("%s had STATE's deletion asked for: %v", reader.name, asked)
			}
		}
	})
}

// pulledOnto has a client ask for messages of whatever it can consume, with the requests
// and objects it must not reach as the reply, and returns when it was answered.
func (b *testBus) pulledOnto(reader *credential) {
	b.t.Helper()
	for _, stream := range proto.Streams() {
		made := reader.ask("$JS.API.CONSUMER.CREATE."+stream.Name+".c", `{"stream_name":"`+stream.Name+`","config":{"name":"c","ack_policy":"none","deliver_policy":"new","inactive_threshold":60000000000}}`)
		if !strings.Contains(made, `"created"`) {
			continue
		}
		for _, reply := range []string{"$JS.API.STREAM.DELETE.STATE", "state.core.pods.a.b"} {
			reader.c.publish("$JS.API.CONSUMER.MSG.NEXT."+stream.Name+".c", reply, `{"batch":1,"no_wait":true}`)
		}
		// Answered after the others, by the same stream.
		reader.ask("$JS.API.CONSUMER.MSG.NEXT."+stream.Name+".c", `{"batch":1,"no_wait":true}`)
	}
}

// What the two tests above look for is there to be seen where all are in one account.
func TestInOneAccountBothExploitsWork(t *testing.T) {
	one := map[string]form{"one account": oneAccount}
	inForms(t, one, func(t *testing.T, b *testBus) {
		b.streams()
		if before, after := b.reportedOnto("state.core.pods.a.b"); after == before {
			t.Error("a node's report with a reply did not replace the object")
		}
	})
	inForms(t, one, func(t *testing.T, b *testBus) {
		b.streams()
		b.pulledOnto(b.cred("automation"))
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(b.cred("operator").ask("$JS.API.STREAM.INFO.STATE", ""), "stream not found"); {
			if time.Now().After(deadline) {
				t.Fatal("a pull request with a reply did not delete STATE")
			}
		}
	})
}

// foreign are subjects on which no client but a few may speak.
func foreign() []string {
	return []string{
		"state.core.pods.default.web", "state_leases.coordination=2Ek8s=2Eio.leases.a.b", "state_events.core.events.a.b", proto.FenceSubject("controllers-nodes"), proto.FenceUseSubject("controllers-nodes"),
		proto.BarrierSubject("STATE", "w"), proto.WatermarkSubject("STATE"), proto.GatewayHelloSubject, proto.AuditSubject("delete", "pods"),
		proto.APIRequestSubject(proto.SchedulerUser), proto.APIBulkSubject(proto.ControllerUser("generic-garbage-collector")), proto.APIFenceSubject(proto.StatusUser), proto.APITunnelSubject(proto.NodeUser("node-1")),
		proto.APIRequestSubject(proto.NodeUser("node-2")), proto.LogReadSubject("controllers-objects"), proto.LogStateSubject("events"),
		proto.NodeTunnelSubject("node-1"), proto.NodeTunnelSubject("node-2"), proto.NodeVolumeSubject("node-1"), proto.NodeVolumeSubject("node-2"), proto.HeartbeatSubject("node-1"), proto.HeartbeatSubject("node-2"), proto.LeaderSubject("controllers-nodes"),
		proto.PodReportSubject("node-1", "a", "b"), proto.PodReportSubject("node-2", "a", "b"), proto.NodeReportSubject("node-2"),
		proto.SchedulerTakeSubject(), proto.SchedulerPlanSubject(), "events.kubus.core.pods.a.b.added",
		proto.GatewayInbox(proto.NodeUser("node-1")) + ".x", proto.GatewayInbox("controllers-objects") + ".x", proto.PeerInbox(proto.NodeUser("node-2")) + ".x", proto.PeerInbox("events") + ".x", "_INBOX.gateway.x", "_INBOX.controllers-objects.x", "_R_.x",
		"$JS.API.STREAM.DELETE.STATE", "$JS.API.STREAM.DELETE.REPORTS", "$JS.API.STREAM.DELETE.CHANGES", "$JS.API.STREAM.PURGE.STATE", "$JS.API.STREAM.CREATE.X", "$JS.API.CONSUMER.CREATE.STATE.x", "$JS.API.CONSUMER.MSG.NEXT.STATE.x",
		"$JS.ACK.STATE.x.1.1.1.1.1", "$JS.FC.STATE.x.y", "$SYS.REQ.SERVER.PING",
	}
}

// Whatever a client may publish, with whatever reply subject, is heard where it may
// speak and in its own account, and nowhere else: not even when a gateway answers where
// it is told to.
func TestNoReplySubjectReachesAnotherAccount(t *testing.T) {
	inEachForm(t, func(t *testing.T, b *testBus) {
		b.streams()
		for _, w := range b.watchers {
			w.subscribe(">")
		}
		answerer := b.cred("gateway")
		for _, subject := range []string{proto.APISubjects, proto.LogSubjects} {
			answerer.c.subscribe(subject)
		}
		b.arrived(answerer)
		for account := range b.watchers {
			b.heard(account)
		}
		before := b.cred("automation")
		for _, c := range b.creds {
			if c.role.Account() == proto.LogAccount {
				continue
			}
			made, said := b.speaks(c, answerer)
			if said == 0 {
				t.Errorf("%s may publish nothing: the test proves nothing", c.name)
			}
			if len(made) > 0 { // by it, or as a late answer to who spoke before, who may have it in its own account
				for _, who := range []*credential{c, before} {
					again, _ := b.speaks(who, answerer)
					for _, what := range again {
						t.Errorf("%s made %s", who.name, what)
					}
				}
			}
			before = c
		}
		if got := b.cred("operator").ask("$JS.API.STREAM.INFO.STATE", ""); !strings.Contains(got, `"messages":0`) {
			t.Errorf("stream STATE: %s", got)
		}
	})
}

// speaks has a client publish all that it may with all replies, and gives what arrived where
// it must not, and how much it said.
func (b *testBus) speaks(c, answerer *credential) (made []string, said int) {
	b.t.Helper()
	for _, subject := range subjects(b.creds) {
		if strings.ContainsAny(subject, "*>") || c.c.publish(subject, "", "x") != "" {
			continue
		}
		for _, reply := range foreign() {
			c.c.post(subject, reply, "x")
			said++
		}
	}
	b.settle(c, answerer)
	for account := range b.watchers {
		for _, m := range b.heard(account) {
			if account != c.role.Account() && !b.mayArrive(c, account, m.subject) {
				made = append(made, fmt.Sprintf("%q arrive at %s in account %s", m.data, m.subject, account))
			}
		}
	}
	return made, said
}

// settle waits until everything said is answered, and everything answered has arrived.
func (b *testBus) settle(c, answerer *credential) {
	b.t.Helper()
	c.c.settle()
	b.arrived(answerer)
	for _, m := range answerer.c.take() {
		if m.reply != "" {
			answerer.c.post(m.subject[:0]+m.reply, "", "answer") // as one that checks nothing
		}
	}
	answerer.c.settle()
	// Streams and their API answer in order: when a last request of each kind has its
	// answer, those before it have theirs.
	for _, stream := range proto.Streams() {
		for _, owner := range []string{"operator", "status", "automation"} {
			b.cred(owner).ask("$JS.API.STREAM.INFO."+stream.Name, "")
		}
	}
	if c.role.Node != "" {
		c.ask(proto.NodeReportSubject(c.role.Node), "x")
	}
	if c.role.Name == "events" {
		c.ask("events.x", "x")
	}
	b.arrived()
}

// mayArrive tells whether the subject is one that crosses from c's account to the other,
// or an answer's way that the server made itself.
func (b *testBus) mayArrive(c *credential, account, subject string) bool {
	if strings.HasPrefix(subject, "_R_.") && subject != "_R_.x" {
		return true
	}
	for _, crossing := range proto.Crossings(b.roles()) {
		if crossing.From == c.role.Account() && crossing.To == account && server.SubjectsCollide(crossing.Arrives(), subject) {
			return true
		}
	}
	return account == proto.LogAccount && strings.HasPrefix(subject, "_INBOX.operator.ask") || strings.HasPrefix(subject, "_INBOX."+account+".ask") ||
		strings.HasPrefix(subject, "$JS.API.STREAM.INFO.") || strings.HasPrefix(subject, "$JS.EVENT.ADVISORY.") // the test's own questions, and what the server tells of the streams there
}

func (b *testBus) roles() []proto.Role {
	var roles []proto.Role
	for _, c := range b.creds {
		roles = append(roles, c.role)
	}
	return roles
}

// Who keeps a stream may have a consumer push where it likes, with heartbeats and flow
// control, and a stream say again what it takes: it all stays in the account.
func TestWhatAStreamPushesStaysInItsAccount(t *testing.T) {
	inEachForm(t, func(t *testing.T, b *testBus) {
		b.streams()
		b.object("state.core.pods.a.b", "{}")
		before := b.stored("state.core.pods.a.b")
		for _, w := range b.watchers {
			w.subscribe("state.core.pods.a.b") // a consumer is active when there is such a literal interest
			w.subscribe("$JS.API.STREAM.DELETE.STATE")
			w.subscribe(proto.GatewayHelloSubject)
		}
		b.arrived()
		for name, stream := range map[string]string{"status": "REPORTS", "automation": "CHANGES"} {
			c := b.cred(name)
			for i, subject := range []string{"state.core.pods.a.b", "$JS.API.STREAM.DELETE.STATE", proto.GatewayHelloSubject} {
				consumer := fmt.Sprintf("p%d", i)
				made := c.ask("$JS.API.CONSUMER.CREATE."+stream+"."+consumer, `{"stream_name":"`+stream+`","config":{"name":"`+consumer+
					`","deliver_subject":"`+subject+`","ack_policy":"none","flow_control":true,"idle_heartbeat":100000000,"deliver_policy":"all","inactive_threshold":60000000000}}`)
				if !strings.Contains(made, `"created"`) {
					t.Fatalf("%s: no push consumer: %s", name, made)
				}
			}
			// Its own account hears the heartbeats; when it does, others would have.
			heard := map[string]bool{}
			for deadline := time.Now().Add(20 * time.Second); len(heard) < 3; {
				if time.Now().After(deadline) {
					t.Fatalf("%s: heard only %v", name, heard)
				}
				for _, m := range b.heard(c.role.Account()) {
					heard[m.subject] = true
				}
			}
		}
		b.cred("status").ask("$JS.API.STREAM.UPDATE.REPORTS", `{"name":"REPORTS","subjects":["report.>"],"max_msgs_per_subject":1,"retention":"limits","storage":"file","num_replicas":1,"allow_msg_ttl":true,"republish":{"src":"report.>","dest":"state.core.pods.a.b"}}`)
		b.cred("agent@node-1").ask(proto.NodeReportSubject("node-1"), "x")
		b.arrived()
		for account := range b.watchers {
			for _, m := range b.heard(account) {
				if account != "status" && account != "automation" {
					t.Errorf("%s arrived in account %s", m.subject, account)
				}
			}
		}
		if after := b.stored("state.core.pods.a.b"); after != before {
			t.Errorf("the pod was %s and is %s", before, after)
		}
	})
}

// A stream that mirrors or takes from one of another account finds none: the state is
// not readable but through gateways. How soon it is there where all are in one account
// tells how long to look.
func TestNoStreamMirrorsTheState(t *testing.T) {
	look := time.Second
	inForms(t, map[string]form{"one account": oneAccount}, func(t *testing.T, b *testBus) {
		b.streams()
		b.object("state.core.secrets.a.b", "secret")
		began := time.Now()
		b.sourced(`"sources":[{"name":"STATE"}]`)
		if !b.sourcedAny(began.Add(20 * time.Second)) {
			t.Fatal("what is looked for below is not to be seen where it is: the test proves nothing")
		}
		look = max(look, 5*time.Since(began))
	})
	inEachForm(t, func(t *testing.T, b *testBus) {
		b.streams()
		b.object("state.core.secrets.a.b", "secret")
		for _, config := range []string{
			`"sources":[{"name":"STATE"}]`,
			`"sources":[{"name":"STATE","external":{"api":"$JS.API","deliver":"state"}}]`,
		} {
			b.sourced(config)
			if b.sourcedAny(time.Now().Add(look)) {
				t.Errorf("REPORTS holds the object by %s", config)
			}
		}
		b.cred("agent@node-1").ask(proto.NodeReportSubject("node-1"), "x")
		if got := b.cred("status").ask("$JS.API.STREAM.INFO.REPORTS", ""); !strings.Contains(got, `"messages":1,`) {
			t.Errorf("REPORTS holds more than the report: %s", got)
		}
	})
}

// sourced has REPORTS take from where its owner says, if the server lets it.
func (b *testBus) sourced(config string) {
	b.t.Helper()
	b.cred("status").ask("$JS.API.STREAM.UPDATE.REPORTS", `{"name":"REPORTS","subjects":["report.>"],"max_msgs_per_subject":1,"retention":"limits","storage":"file","num_replicas":1,"allow_msg_ttl":true,`+config+`}`)
}

// sourcedAny tells whether REPORTS has any message by then.
func (b *testBus) sourcedAny(until time.Time) bool {
	b.t.Helper()
	for {
		if got := b.cred("status").ask("$JS.API.STREAM.INFO.REPORTS", ""); !strings.Contains(got, `"messages":0,`) {
			return true
		}
		if time.Now().After(until) {
			return false
		}
	}
}
