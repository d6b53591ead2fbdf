package gateway

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "google.golang.org/protobuf/proto"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
)

var updateAttack = flag.Bool("attack", false, "write what the rig found into docs/security.md")

// What must be neither changed nor read.
var (
	victim   = proto.Key{GroupResource: proto.GroupResource{Resource: "configmaps"}, Namespace: "default", Name: "victim"}
	treasure = proto.Key{GroupResource: proto.GroupResource{Resource: "secrets"}, Namespace: "default", Name: "treasure"}
)

const (
	victimPath   = "/api/v1/namespaces/default/configmaps/victim"
	treasurePath = "/api/v1/namespaces/default/secrets/treasure"
	open         = "sesame-open-sesame"
)

// attackRig is a cluster's gateway on a bus with accounts, and outsiders each of whom has
// stolen one credential.
type attackRig struct {
	t    *testing.T
	g    *running
	bus  *bustest.Accounts
	rows []attackRow
}

type attackRow struct{ stolen, tried, promise, result string }

// thief has one credential of the bus.
type thief struct {
	*attackRig
	client string
	role   proto.Role
	conn   *bus.Conn

	mu    sync.Mutex
	heard []*bus.Msg
}

func newAttack(t *testing.T) *attackRig {
	t.Helper()
	r := &attackRig{t: t, bus: bustest.WithAccounts(t, "node-1")}
	keys := filepath.Join(t.TempDir(), "log.key")
	if err := os.WriteFile(keys, []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, statelog.KeySize))), 0o600); err != nil {
		t.Fatal(err)
	}
	r.g = startOn(t, r.bus.Connect("gateway"), func(c *Config) { c.Signing.KeyFile, c.Quota.Namespace = keys, "256Ki" })
	must[corev1.ConfigMap](t, r.g, "POST", configMaps, configMap("victim"))
	must[corev1.Secret](t, r.g, "POST", "/api/v1/namespaces/default/secrets", map[string]any{"metadata": map[string]any{"name": "treasure"}, "stringData": map[string]string{"word": open}})
	for client, stream := range map[string]proto.Stream{"status": proto.ReportsStream, "events": proto.ChangesStream} {
		if _, err := r.bus.Connect(client).EnsureStream(t.Context(), stream, 1); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *attackRig) steal(client string, role proto.Role) *thief {
	th := &thief{attackRig: r, client: client, role: role, conn: r.bus.Connect(client)}
	th.listen(proto.InboxPrefix(client) + ".>")
	return th
}

func (th *thief) listen(subject string) {
	th.t.Helper()
	if _, err := th.conn.Subscribe(subject, "", func(m *bus.Msg) {
		th.mu.Lock()
		defer th.mu.Unlock()
		own := *m
		own.Data = bytes.Clone(m.Data)
		th.heard = append(th.heard, &own)
	}); err != nil {
		th.t.Fatal(err)
	}
}

// post publishes with a reply subject, be it refused or not.
func (th *thief) post(subject, reply, data string) {
	th.t.Helper()
	if err := th.conn.Probe(subject, reply, []byte(data)); err != nil {
		th.t.Fatal(err)
	}
}

func (th *thief) inbox() string { return proto.InboxPrefix(th.client) + ".x" }

// ends waits until the bus has seen what was posted and the gateway has answered, and
// checks that nothing came of it.
func (th *thief) ends(tried string) {
	th.t.Helper()
	if err := th.conn.Flush(th.t.Context()); err != nil {
		th.t.Fatal(err)
	}
	must[corev1.ConfigMap](th.t, th.g, "POST", configMaps+"?dryRun=All", configMap("behind"))
	th.unharmed(th.client + ": " + tried)
	if err := th.conn.Flush(th.t.Context()); err != nil {
		th.t.Fatal(err)
	}
	th.mu.Lock()
	defer th.mu.Unlock()
	for _, m := range th.heard {
		if betrays(m.Data) || strings.HasPrefix(m.Subject, "state") && th.role.Name != "operator" {
			th.t.Errorf("%s: %s: heard %s: %.200s", th.client, tried, m.Subject, m.Data)
		}
	}
	th.heard = nil
}

// betrays tells whether the treasure is in it, in the clear or as JSON has bytes.
func betrays(data []byte) bool {
	return bytes.Contains(data, []byte(open)) || bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString([]byte(open))))
}

// unharmed checks what must not change, behind everything that the store was sent before.
func (r *attackRig) unharmed(what string) {
	r.t.Helper()
	if _, err := r.g.state.Barrier(r.t.Context(), victim.GroupResource); err != nil {
		r.t.Fatalf("%s: the log is gone: %v", what, err)
	}
	if got := must[corev1.ConfigMap](r.t, r.g, "GET", victimPath, nil); got.Data["a"] != "1" || got.UID == "" {
		r.t.Errorf("%s: the victim is %v", what, got)
	}
	if got := must[corev1.Secret](r.t, r.g, "GET", treasurePath, nil); string(got.Data["word"]) != open {
		r.t.Errorf("%s: the treasure is %v", what, got.Data)
	}
	if state, err := r.g.conn.StreamState(r.t.Context(), "STATE"); err != nil || state.LastSeq < 100 {
		r.t.Errorf("%s: the log is at %d, %v", what, state.LastSeq, err)
	}
}

// note adds a row; rows that differ in who alone become one.
func (r *attackRig) note(stolen, tried, promise, result string) {
	for i := range r.rows {
		if row := &r.rows[i]; row.tried == tried && row.promise == promise && row.result == result {
			row.stolen += ", " + stolen
			return
		}
	}
	r.rows = append(r.rows, attackRow{stolen, tried, promise, result})
}

// may are subjects that a role may publish, with names put in.
func (th *thief) may() (subjects []string) {
	for _, s := range th.role.Publish {
		subjects = append(subjects, strings.NewReplacer("*", "node-1", ">", "x").Replace(s))
	}
	for _, identity := range th.role.Identities {
		subjects = append(subjects, proto.APIRequestSubject(identity), proto.APIBulkSubject(identity), proto.APIFenceSubject(identity), proto.APITunnelSubject(identity))
	}
	if len(th.role.Reads) > 0 {
		subjects = append(subjects, proto.LogStateSubject(th.client), proto.LogReadSubject(th.client))
	}
	for _, peer := range th.role.Peers() {
		subjects = append(subjects, proto.GatewayInbox(peer)+".x")
	}
	if s := th.role.Stream; s != "" {
		subjects = append(subjects, "$JS.API.STREAM.INFO."+s, "$JS.API.CONSUMER.CREATE."+s+".c", "$JS.API.CONSUMER.MSG.NEXT."+s+".c")
	}
	return append(subjects, th.inbox())
}

const forged = `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"victim","namespace":"default","uid":"666"},"data":{"a":"666"}}`

// onTheBus is what each thief of a credential of the bus tries.
var onTheBus = []struct {
	tried, promise string
	does           func(th *thief)
}{
	{"publishes objects, fences, deletions of its own into the log", "only gateways write the log", func(th *thief) {
		for _, subject := range []string{victim.Subject(), treasure.Subject(), proto.FenceSubject("status"), proto.FenceUseSubject("status"), proto.BarrierSubject("STATE", "x"), proto.WatermarkSubject("STATE")} {
			th.post(subject, th.inbox(), forged)
		}
	}},
	{"asks with replies that lead answers onto objects and the API of the streams", "what the server answers stays in the asker's account", func(th *thief) {
		for _, subject := range th.may() {
			for _, reply := range []string{victim.Subject(), treasure.Subject(), proto.FenceSubject("status"), proto.GatewayHelloSubject, proto.APIRequestSubject(proto.EventsUser), "$JS.API.STREAM.DELETE.STATE", "$JS.API.STREAM.PURGE.STATE", "$JS.ACK.STATE.x.1.1.1.1.1"} {
				th.post(subject, reply, forged)
			}
		}
	}},
	{"deletes, purges, changes, restores the streams", "only gateways keep the streams", func(th *thief) {
		for _, stream := range []string{"STATE", "LEASES", "EVENTS"} {
			for _, api := range []string{"$JS.API.", proto.StreamAPI("events") + "."} {
				for _, verb := range []string{"DELETE", "PURGE", "UPDATE", "SNAPSHOT", "RESTORE", "MSG.DELETE", "PEER.REMOVE", "LEADER.STEPDOWN"} {
					th.post(api+"STREAM."+verb+"."+stream, th.inbox(), `{"name":"`+stream+`","subjects":["x"],"max_age":1000000000,"seq":1}`)
				}
			}
		}
	}},
	{"makes consumers (pull, push, heartbeats, flow control), mirrors and sources, and asks for single messages", "the log is read by gateways alone", func(th *thief) {
		for _, api := range []string{"$JS.API.", proto.StreamAPI("events") + "."} {
			for _, stream := range []string{"STATE", th.role.Stream} {
				th.post(api+"CONSUMER.CREATE."+stream+".x", th.inbox(), `{"stream_name":"`+stream+`","config":{"name":"x","ack_policy":"none","deliver_policy":"all"}}`)
				th.post(api+"CONSUMER.CREATE."+stream+".y", th.inbox(), `{"stream_name":"`+stream+`","config":{"name":"y","ack_policy":"none","deliver_subject":"`+victim.Subject()+`","flow_control":true,"idle_heartbeat":100000000}}`)
				th.post(api+"CONSUMER.MSG.NEXT."+stream+".x", victim.Subject(), `{"batch":1,"no_wait":true}`)
				th.post(api+"CONSUMER.MSG.NEXT."+stream+".x", th.inbox(), `{"batch":100,"no_wait":true}`)
			}
			th.post(api+"STREAM.MSG.GET.STATE", th.inbox(), `{"last_by_subj":"`+treasure.Subject()+`"}`)
			th.post(api+"DIRECT.GET.STATE", th.inbox(), `{"last_by_subj":"`+treasure.Subject()+`"}`)
			th.post(api+"STREAM.CREATE.X", th.inbox(), `{"name":"X","mirror":{"name":"STATE"}}`)
			th.post(api+"STREAM.CREATE.X", th.inbox(), `{"name":"X","mirror":{"name":"STATE","external":{"api":"$JS.API","deliver":"state"}}}`)
			if th.role.Stream != "" {
				th.post(api+"STREAM.UPDATE."+th.role.Stream, th.inbox(), `{"name":"`+th.role.Stream+`","subjects":["report.>"],"sources":[{"name":"STATE","external":{"api":"$JS.API","deliver":"state"}}]}`)
			}
		}
	}},
	{"listens to everything while others speak", "nobody hears what is not for it", func(th *thief) {
		for _, subject := range []string{">", "state.>", "state_fence.>", "api.*.*", "log.*.*", "node.*.tunnel", "node.*.volume", "_INBOX.>", "_INBOX.gateway.>", "_INBOX.peer.>", "_R_.>", "audit.>", "$JS.EVENT.>", "$SYS.>"} {
			th.listen(subject)
		}
		must[corev1.Secret](th.t, th.g, "PUT", treasurePath, map[string]any{
			"metadata": map[string]any{"name": "treasure", "labels": map[string]string{"heard-by": th.role.Name}}, "stringData": map[string]string{"word": open},
		})
	}},
	{"speaks as other users and other readers of the log", "the account says who speaks", func(th *thief) {
		for _, user := range []string{AdminUser, "system:apiserver", proto.SchedulerUser, proto.StatusUser, proto.ControllerUser("generic-garbage-collector"), proto.NodeUser("node-2")} {
			if !slices.Contains(th.role.Identities, user) {
				data, err := pb.Marshal(&message.ApiRequest{Method: "GET", Path: treasurePath})
				if err != nil {
					th.t.Fatal(err)
				}
				th.post(proto.APIRequestSubject(user), th.inbox(), string(data))
			}
		}
		for _, client := range []string{"controllers-objects", "events", "x"} {
			if client != th.client {
				th.post(proto.LogStateSubject(client), th.inbox(), `{"stream":"STATE"}`)
			}
		}
	}},
	{"reads Secrets from its part of the log", "the log holds Secrets as ciphertext, and each reads what its role names", func(th *thief) {
		th.post(proto.LogStateSubject(th.client), th.inbox(), `{"stream":"STATE","subjects":["`+treasure.Subject()+`"]}`)
		th.post(proto.LogReadSubject(th.client), th.inbox(), `{"stream":"STATE","subjects":["`+treasure.Subject()+`"]}`)
	}},
}

// overTheAPI is what each thief tries as the users that its credential speaks as. known
// says for whom it works, and why it is left.
var overTheAPI = []struct {
	tried, promise, method, path, body string
	known                              map[string]string
}{
	{"reads a Secret by the API", "a service reads no Secrets", "GET", treasurePath, "", map[string]string{
		"controllers-objects": "OPEN: garbage collection and namespaces handle every object, as upstream's do",
	}},
	{"reads a Secret by a patch of it", "a service reads no Secrets", "PATCH", treasurePath, `{"metadata":{"annotations":{"x":"y"}}}`, map[string]string{
		"controllers-objects":     "OPEN: garbage collection and the migration of stored versions change any object, as upstream's do",
		"controllers-credentials": "OPEN: tokens of ServiceAccounts are Secrets, which it has filled",
	}},
	{"gives a role every right", "RBAC is beyond every service", "PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/view", `{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`, map[string]string{
		"controllers-credentials": "OPEN: aggregated roles get whatever rules others have, as upstream's",
	}},
	{"makes itself administrator", "RBAC is beyond every service", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		`{"metadata":{"name":"mine"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"me"}]}`, nil},
	{"changes a ConfigMap that is not its own", "a service writes what its work is", "PATCH", victimPath, `{"data":{"a":"666"}}`, map[string]string{
		"controllers-objects": "OPEN: garbage collection and the migration of stored versions change any object, as upstream's do",
	}},
	{"leads another's Service elsewhere", "a service writes what its work is", "POST", "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
		`{"metadata":{"name":"kube-dns-x","labels":{"kubernetes.io/service-name":"metrics-server"}},"addressType":"IPv4","endpoints":[{"addresses":["192.0.2.66"]}]}`, map[string]string{
			"controllers-network": "OPEN: it makes the endpoints of all Services, as upstream's does",
		}},
	{"has a token made for another account", "tokens are for nodes' pods", "POST", "/api/v1/namespaces/default/serviceaccounts/default/token", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`, nil},
}

func TestWhatOneStolenCredentialOpens(t *testing.T) {
	r := newAttack(t)
	must[corev1.ServiceAccount](t, r.g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"default"}}`)
	clients := r.bus.Clients()
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		if client == "gateway" || client == "operator" {
			continue
		}
		r.stolen(r.steal(client, clients[client]))
	}
	r.operator()
	r.namespaced()
	r.report()
}

func (r *attackRig) stolen(th *thief) {
	name := th.client
	switch {
	case th.role.Node != "" && len(th.role.Identities) > 0:
		name = "a node"
	case th.role.Node != "":
		name = "a node's " + th.role.Name
	}
	for _, a := range onTheBus {
		a.does(th)
		th.ends(a.tried)
		r.note(name, a.tried, a.promise, "refused or unheard; nothing changed, nothing read")
	}
	api := apiclient.New(apiclient.OverBus(th.conn), "")
	for _, a := range overTheAPI {
		var opened []string
		for _, identity := range th.role.Identities {
			ask := apiclient.Request{Method: a.method, Path: a.path, Body: []byte(a.body)}
			if a.method != "GET" { // without harm, since for some it works
				ask.Query = url.Values{"dryRun": {"All"}}
			}
			if a.method == "PATCH" {
				ask.ContentType = "application/merge-patch+json"
			}
			_, err := api.As(identity).Do(r.t.Context(), ask)
			switch {
			case err == nil:
				opened = append(opened, identity)
			case !apierrors.IsForbidden(err):
				r.t.Errorf("%s as %s: %s: got %v", th.client, identity, a.tried, err)
			}
		}
		switch known := a.known[th.client]; {
		case len(th.role.Identities) == 0:
		case len(opened) > 0 && known != "":
			r.note(name, a.tried, a.promise, known)
		case len(opened) > 0:
			r.t.Errorf("%s: %s: it works as %v", th.client, a.tried, opened)
		case known != "":
			r.t.Errorf("%s: %s: it does not work any more: take it out of what is known", th.client, a.tried)
		default:
			r.note(name, a.tried, a.promise, "403")
		}
	}
	for _, identity := range th.role.Identities[:min(1, len(th.role.Identities))] {
		for _, fence := range []string{"status", "scheduler-planner", "cloud"} {
			if proto.MayHold(identity, fence) {
				continue
			}
			if _, err := api.As(identity).AcquireFence(r.t.Context(), fence, "me", 0); err == nil {
				r.t.Errorf("%s took the fence %s", identity, fence)
			}
		}
		r.note(name, "takes the fences of others", "one leads, and only who may", "403")
	}
}

// operator has the operator's key of the bus, and not the key that signs the log.
func (r *attackRig) operator() {
	th := r.steal("operator", r.bus.Clients()["operator"])
	for _, forge := range []struct {
		tried  string
		header bus.Header
	}{
		{"replaces an object in the log", nil},
		{"deletes an object in the log", bus.Header{proto.HeaderOperation: {proto.OperationDelete}}},
		{"replaces an object by what soon expires", bus.Header{bus.HeaderTTL: {"1s"}}},
	} {
		seq, err := th.conn.PublishStream(r.t.Context(), victim.Subject(), []byte(forged), forge.header)
		if err != nil {
			r.t.Fatal(err)
		}
		r.unharmed(forge.tried)
		r.back(th, forge.tried, seq)
		r.note("the operator's key of the bus", forge.tried, "gateways believe what gateways wrote", "passed over, counted, and the good version is back")
	}
	before, err := r.g.conn.StreamState(r.t.Context(), "STATE")
	if err != nil {
		r.t.Fatal(err)
	}
	th.post("$JS.API.STREAM.DELETE.STATE", th.inbox(), "")
	r.back(th, "deletes the log", before.LastSeq)
	r.note("the operator's key of the bus", "deletes the log", "gateways believe what gateways wrote", "noticed, and made again with everything that a gateway knows; sequences go on")
	r.note("the operator's key of the bus", "makes the log anew, empty or of an old backup", "gateways believe what gateways wrote", "OPEN: noticed and told (`statelogtest: TestAStreamThat…`), left as it is")
	r.note("the operator's key of the bus", "reads the log", "Secrets are ciphertext there", "OPEN for all but Secrets")
}

// back waits until the log has the victim again, signed and behind a sequence.
func (r *attackRig) back(th *thief, tried string, seq uint64) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		m, err := th.conn.LastOn(r.t.Context(), "STATE", victim.Subject())
		if err == nil && m != nil && m.Seq > seq && m.Header.Get(proto.HeaderSignature) != "" {
			break
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: the good version did not come back", tried)
		}
	}
	r.unharmed(tried)
}

// namespaced has the token of a ServiceAccount that is admin of one namespace.
func (r *attackRig) namespaced() {
	mine := newNamespace(r.t, r.g, "mine")
	must[map[string]any](r.t, r.g, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/mine/rolebindings",
		`{"metadata":{"name":"a"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"admin"},"subjects":[{"kind":"ServiceAccount","name":"default","namespace":"mine"}]}`)
	token := must[authenticationv1.TokenRequest](r.t, r.g, "POST", mine+"/serviceaccounts/default/token", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`).Status.Token
	const binding = `{"metadata":{"name":"x"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},"subjects":[{"kind":"ServiceAccount","name":"default","namespace":"mine"}]}`
	large := strings.Repeat("x", 40<<10)
	for _, a := range []struct {
		tried, promise, method, path, body string
		header                             map[string]string
	}{
		{"reads a Secret of another namespace", "a namespace is a wall", "GET", treasurePath, "", nil},
		{"lists Secrets of all", "a namespace is a wall", "GET", "/api/v1/secrets", "", nil},
		{"watches Secrets of all", "a namespace is a wall", "GET", "/api/v1/watch/secrets", "", nil},
		{"reaches others by dots in the path", "the namespace that is authorized is the one that is served", "GET", "/api/v1/namespaces/mine/../default/secrets/treasure", "", nil},
		{"and by dots that are encoded", "the namespace that is authorized is the one that is served", "GET", "/api/v1/namespaces/mine/%2e%2e/default/secrets/treasure", "", nil},
		{"and by slashes that are encoded", "the namespace that is authorized is the one that is served", "GET", "/api/v1/namespaces/mine/secrets/..%2f..%2fdefault%2fsecrets%2ftreasure", "", nil},
		{"reads a Namespace through its own (finding 2)", "the namespace that is authorized is the one that is served", "GET", "/api/v1/namespaces/mine/namespaces/default", "", nil},
		{"deletes a Namespace through its own (finding 2)", "the namespace that is authorized is the one that is served", "DELETE", "/api/v1/namespaces/mine/namespaces/default", "", nil},
		{"writes through a watch of a proxy (finding 9)", "verb and method agree", "POST", "/api/v1/watch/namespaces/mine/pods/p/proxy/", "x", nil},
		{"makes an object in another namespace by its metadata", "a namespace is a wall", "POST", mine + "/configmaps", `{"metadata":{"name":"x","namespace":"default"}}`, nil},
		{"binds itself cluster-admin in its namespace", "nobody gives what it does not have", "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/mine/rolebindings", binding, nil},
		{"binds itself cluster-admin everywhere", "nobody gives what it does not have", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding, nil},
		{"makes a role that may everything", "nobody gives what it does not have", "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/mine/roles", `{"metadata":{"name":"x"},"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}`, nil},
		{"speaks as the administrator", "who speaks for others must be allowed to", "GET", treasurePath, "", map[string]string{"Impersonate-User": AdminUser}},
		{"speaks as a group of administrators", "who speaks for others must be allowed to", "GET", treasurePath, "", map[string]string{"Impersonate-User": "x", "Impersonate-Group": "system:masters"}},
		{"says that a proxy vouches for it", "only the proxy's certificate is believed", "GET", treasurePath, "", map[string]string{"X-Remote-User": "x", "X-Remote-Group": "system:masters"}},
		{"has a token made for an account of kube-system", "a namespace is a wall", "POST", "/api/v1/namespaces/kube-system/serviceaccounts/generic-garbage-collector/token", `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}`, nil},
		{"reaches a node by its proxy", "nodes are not for users", "GET", "/api/v1/nodes/node-1/proxy/pods", "", nil},
		{"registers a webhook that sees everything", "what judges requests is not for users", "POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", `{"metadata":{"name":"x"}}`, nil},
		{"registers an API server", "what answers requests is not for users", "POST", "/apis/apiregistration.k8s.io/v1/apiservices", `{"metadata":{"name":"v1.x"},"spec":{"group":"x","version":"v1","groupPriorityMinimum":1,"versionPriority":1}}`, nil},
		{"sends a body without end", "what a peer fills has a bound", "POST", mine + "/configmaps", `{"metadata":{"name":"x"},"data":{"a":"` + strings.Repeat("x", 4<<20) + `"}}`, nil},
	} {
		code, body := r.ask(token, a.method, a.path, a.body, a.header)
		if code < 400 || betrays(body) {
			r.t.Errorf("a user of one namespace: %s: got %d %.200s", a.tried, code, body)
		}
		r.note("a user who is admin of one namespace", a.tried, a.promise, fmt.Sprint(code))
	}
	refused := 0
	for i := range 20 {
		if code, _ := r.ask(token, "POST", mine+"/configmaps", fmt.Sprintf(`{"metadata":{"name":"fill-%d"},"data":{"a":%q}}`, i, large), nil); code >= 400 {
			refused = code
		}
	}
	if refused != http.StatusInsufficientStorage {
		r.t.Errorf("filling the store: got %d", refused)
	}
	r.note("a user who is admin of one namespace", "fills the store (finding 12)", "a namespace has a budget", fmt.Sprint(refused))
	for what, token := range map[string]string{"nobody's": "", "a made up": "x.y.z"} {
		if code, body := r.ask(token, "GET", treasurePath, "", nil); code != http.StatusForbidden && code != http.StatusUnauthorized || betrays(body) {
			r.t.Errorf("with %s token: got %d %s", what, code, body)
		}
	}
	r.unharmed("a user of one namespace")
}

// ask sends a request with a token, its path as it is.
func (r *attackRig) ask(token, method, path, body string, header map[string]string) (int, []byte) {
	r.t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.g.http.Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.g.url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.URL.Opaque = "//" + strings.TrimPrefix(r.g.url, "https://") + path
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, data
}

// elsewhere are attacks that need a node or a user's home; tests of those packages try them.
var elsewhere = []struct{ stolen, tried, dir, test string }{
	{"an image's author", "changes layers that other pods use", "services/agent/internal/image", "TestFinding5"},
	{"an image's author", "bombs: depth, names, entries, bytes", "services/agent/internal/layer", "TestFinding6"},
	{"an image's author", "runs as root against runAsNonRoot", "services/agent/internal/oci", "TestFinding7"},
	{"an image's author", "leaves its pod by shareProcessNamespace", "services/agent/internal/runtime", "TestFinding8a"},
	{"an image's author", "runs without the isolation that was asked for", "services/agent/internal/launch", "TestFinding8What"},
	{"an image's author", "has the node empty what it mounted", "services/agent/internal/tree", "TestFinding13"},
	{"an image's author", "takes the node's ports", "services/agent/internal/runtime", "TestFinding14"},
	{"an image's author", "poses as another pod, reaches the node's loopback", "services/agent/internal/runtime", "TestFinding15Pods"},
	{"an image's author", "takes the node's memory and threads", "services/agent/internal/runtime", "TestFinding15All"},
	{"a local user", "has root write through links in his home", "cmd/kubus/internal/kubeconfig", "TestFinding11"},
	{"a local user", "reads keys and data, connects to what only the cluster needs", "test/e2e", "TestTheMainJob"},
	{"a stranger on the network", "asks the DNS", "services/dns/internal/server", "TestFinding15Strangers"},
	{"a node", "names addresses that are others', in its Node", "services/status/internal/intake", "TestANodeHasNoAddresses"},
	{"a node", "names addresses that are others', in Services", "services/proxy", "TestFinding10"},
	{"a node", "breaks the bounds of its tunnels", "proto/bustest/tunneltest", "TestAPeer"},
	{"a node", "floods", "proto/bustest/floodtest", "TestANodeThatFloods"},
	{"who has a key that was rotated", "connects", "test/e2e", "TestKeysAreRotatedWhilePodsRun"},
}

const attackBegin, attackEnd = "<!-- attack: generated -->\n", "<!-- end -->\n"

// report compares what was found with docs/security.md, or writes it there.
func (r *attackRig) report() {
	r.t.Helper()
	var b strings.Builder
	b.WriteString(attackBegin + "| stolen | tried | promise | result |\n|---|---|---|---|\n")
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", row.stolen, row.tried, row.promise, row.result)
	}
	for _, e := range elsewhere {
		if !tested(r.t, filepath.Join("..", e.dir), "func "+e.test) {
			r.t.Errorf("%s has no test %s", e.dir, e.test)
		}
		fmt.Fprintf(&b, "| %s | %s | see above | `%s: %s…` |\n", e.stolen, e.tried, filepath.Base(e.dir), e.test)
	}
	b.WriteString(attackEnd)
	const file = "../docs/security.md"
	text, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), attackBegin)
	_, after, ended := strings.Cut(rest, attackEnd)
	if !found || !ended {
		r.t.Fatalf("%s has no place for what the rig found", file)
	}
	want := before + b.String() + after
	if *updateAttack {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			r.t.Fatal(err)
		}
	} else if want != string(text) {
		for line := range strings.Lines(b.String()) {
			if !strings.Contains(string(text), line) {
				r.t.Errorf("now: %s", line)
			}
		}
		r.t.Errorf("%s says otherwise; if the change is meant: make attack", file)
	}
}

// docs/security.md names tests: they are there.
func TestEveryTestThatSecurityNamesIsThere(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b(Test|Fuzz)[A-Z][A-Za-z0-9]+`).FindAllString(string(text), -1) {
		missing["func "+name] = true
	}
	if len(missing) < 30 {
		t.Fatalf("it names %d", len(missing))
	}
	err = filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if d != nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		for name := range missing {
			if bytes.Contains(data, []byte(name)) {
				delete(missing, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range missing {
		t.Errorf("there is no %s", name)
	}
}

// tested tells whether a folder's tests hold a text.
func tested(t *testing.T, dir, text string) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || bytes.Contains(data, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
