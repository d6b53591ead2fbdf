package streams_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	"k8s.io/utils/ptr"

	"kubus.dev/gateway/internal/streams"
	kubus "kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/tunnel"
)

// start gives a server with one pod, "p" in "default" on node "n" with
// containers a and b, and an agent that echoes.
func start(t *testing.T) *rest.Config {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn := bustest.Start(t)
	views := statelog.OpenViews(ctx, conn, zap.NewNop())
	log, err := statelog.OpenLog(ctx, conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := views.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n", "away"} {
		writeIn(t, log, "", kubus.GroupResource{Resource: "nodes"}, name, &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	put(t, log, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u"}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}}, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.2", PodIPs: []corev1.PodIP{{IP: "10.0.0.2"}}}})
	put(t, log, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pending"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}}}})
	put(t, log, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "lost"}, Spec: corev1.PodSpec{NodeName: "away", Containers: []corev1.Container{{Name: "a"}}}})
	put(t, log, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "nowhere"}, Spec: corev1.PodSpec{NodeName: "gone", Containers: []corev1.Container{{Name: "a"}}}})
	write(t, log, kubus.GroupResource{Resource: "services"}, "s", &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 80}}},
	})
	write(t, log, kubus.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}, "s-1", &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "s-1", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr.To("web"), Port: ptr.To[int32](8080)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"169.254.169.254"}}, // of nobody
			{Addresses: []string{"127.0.0.1"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}}, // not the pod's
			{Addresses: []string{"10.0.0.2"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}},
		},
	})
	if _, err := tunnel.PeerAs(kubus.NodeUser("n")).Serve(ctx, conn, kubus.NodeTunnelSubject("n"), "", agent); err != nil {
		t.Fatal(err)
	}
	everybody := authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionAllow, "", nil
	})
	handlers := streams.New(streams.Options{Conn: conn, View: log.View, Barrier: log.Barrier, Authorizer: everybody, Logger: zap.NewNop()}).Handlers()
	resolver := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	hs := httptest.NewServer(filters.WithRequestInfo(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, _ := request.RequestInfoFrom(req.Context())
		req = req.WithContext(request.WithUser(req.Context(), &user.DefaultInfo{Name: "me"}))
		handlers[info.Resource+"/"+info.Subresource].ServeHTTP(w, req)
	}), resolver))
	t.Cleanup(func() {
		hs.CloseClientConnections()
		hs.Close()
		cancel()
	})
	return &rest.Config{Host: hs.URL}
}

func put(t *testing.T, log *statelog.Log, pod *corev1.Pod) {
	t.Helper()
	pod.Namespace, pod.Kind, pod.APIVersion = "default", "Pod", "v1"
	write(t, log, kubus.GroupResource{Resource: "pods"}, pod.Name, pod)
}

func write(t *testing.T, log *statelog.Log, gr kubus.GroupResource, name string, object any) {
	t.Helper()
	writeIn(t, log, "default", gr, name, object)
}

func writeIn(t *testing.T, log *statelog.Log, namespace string, gr kubus.GroupResource, name string, object any) {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Commit(t.Context(), statelog.Write{Key: kubus.Key{GroupResource: gr, Namespace: namespace, Name: name}, Data: data}); err != nil {
		t.Fatal(err)
	}
}

// agent says what it was asked, echoes its input and ends with the status that the
// command names.
func agent(_ context.Context, open *message.TunnelOpen, t *tunnel.Tunnel) error {
	r := &message.NodeRequest{}
	if err := proto.Unmarshal(open.Request, r); err != nil {
		return err
	}
	if r.Container == "b" {
		return errors.New(`container "b" is not running`)
	}
	if open.Kind == "node" {
		fmt.Fprintf(t.Channel(1), "my %s", r.Path)
		return t.Channel(1).Close()
	}
	if r.Pod == "" {
		return errors.New("there is no such pod here")
	}
	switch open.Kind {
	case "log":
		fmt.Fprintf(t.Channel(1), "one\ntwo tail=%d\n", r.TailLines)
		return t.Channel(1).Close()
	case "proxy":
		if r.Port == 9 {
			return errors.New("connection refused")
		}
		return site(r.Port, t.Channel(0))
	case "portforward":
		fmt.Fprintf(t.Channel(0), "port %d: ", r.Port)
		_, _ = io.Copy(t.Channel(0), t.Channel(0))
		return t.Channel(0).Close()
	}
	fmt.Fprintf(t.Channel(1), "%s %v tty=%v\n", open.Kind, r.Command, r.Tty)
	if r.Stderr {
		fmt.Fprint(t.Channel(2), "to stderr\n")
	}
	if r.Tty {
		var size struct{ Width, Height int }
		if err := json.NewDecoder(t.Channel(4)).Decode(&size); err == nil {
			fmt.Fprintf(t.Channel(1), "%dx%d\n", size.Width, size.Height)
		}
	}
	if r.Stdin {
		_, _ = io.Copy(t.Channel(1), t.Channel(0))
	}
	_ = t.Channel(1).Close()
	_ = t.Channel(2).Close()
	st := `{"status":"Success"}`
	if len(r.Command) > 0 && r.Command[0] == "false" {
		st = `{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code: 3","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}`
	}
	fmt.Fprint(t.Channel(3), st)
	return t.Channel(3).Close()
}

// site answers one HTTP request with what it was asked, or speaks another protocol
// where the request asks for that.
func site(port uint32, ch *tunnel.Channel) error {
	in := bufio.NewReader(ch)
	req, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	if req.Header.Get("Upgrade") != "" {
		fmt.Fprintf(ch, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", req.Header.Get("Upgrade"))
		line, err := in.ReadString('\n')
		fmt.Fprintf(ch, "heard %s", line)
		return err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	answer := fmt.Sprintf("%s %s on %d: %s", req.Method, req.RequestURI, port, body)
	fmt.Fprintf(ch, "HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer)
	return ch.Close()
}

func target(t *testing.T, c *rest.Config, path string, query url.Values) *url.URL {
	t.Helper()
	u, err := url.Parse(c.Host + "/api/v1/namespaces/default/pods/" + path)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = query.Encode()
	return u
}

// executors are the ways that clients have.
func executors(t *testing.T, c *rest.Config, u *url.URL) map[string]remotecommand.Executor {
	t.Helper()
	ws, err := remotecommand.NewWebSocketExecutor(c, "GET", u.String())
	if err != nil {
		t.Fatal(err)
	}
	v4, err := remotecommand.NewWebSocketExecutorForProtocols(c, "GET", u.String(), "v4.channel.k8s.io")
	if err != nil {
		t.Fatal(err)
	}
	sp, err := remotecommand.NewSPDYExecutor(c, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"WebSocket v5": ws, "WebSocket v4": v4, "SPDY": sp}
}

func TestExecCarriesAllStreamsAndTheExitCode(t *testing.T) {
	c := start(t)
	u := target(t, c, "p/exec", url.Values{"container": {"a"}, "command": {"cat", "-"}, "stdin": {"true"}, "stdout": {"true"}, "stderr": {"true"}})
	large := strings.Repeat("0123456789abcdef", 40000)
	all := executors(t, c, u)
	delete(all, "WebSocket v4") // which cannot end its input
	for name, e := range all {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(large), Stdout: &out, Stderr: &errOut})
			if err != nil || out.String() != "exec [cat -] tty=false\n"+large || errOut.String() != "to stderr\n" {
				t.Errorf("got %d bytes, %q, %v", out.Len(), errOut.String(), err)
			}
		})
	}
	u = target(t, c, "p/exec", url.Values{"container": {"a"}, "command": {"false"}, "stdout": {"true"}})
	for name, e := range executors(t, c, u) {
		t.Run(name+", failing", func(t *testing.T) {
			var out bytes.Buffer
			err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out})
			var exit exec.ExitError
			if !errors.As(err, &exit) || exit.ExitStatus() != 3 {
				t.Errorf("got %v, want exit code 3", err)
			}
		})
	}
}

type oneSize struct{ given bool }

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.given {
		return nil
	}
	s.given = true
	return &remotecommand.TerminalSize{Width: 80, Height: 24}
}

func TestATerminalIsResized(t *testing.T) {
	c := start(t)
	u := target(t, c, "p/attach", url.Values{"container": {"a"}, "stdout": {"true"}, "tty": {"true"}})
	for name, e := range executors(t, c, u) {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Tty: true, TerminalSizeQueue: &oneSize{}})
			if err != nil || out.String() != "attach [] tty=true\n80x24\n" {
				t.Errorf("got %q, %v", out.String(), err)
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	c := start(t)
	for name, q := range map[string]struct {
		path string
		code int
		text string
	}{
		"no such pod":          {"nope/log", 404, `pods "nope" not found`},
		"which container":      {"p/log", 400, "a container name must be specified for pod p, choose one of: [a b]"},
		"no such container":    {"p/log?container=x", 400, "container x is not valid for pod p"},
		"not running":          {"p/log?container=b", 400, `container "b" is not running`},
		"a bad option":         {"p/log?container=a&tailLines=-1", 422, "tailLines"},
		"not scheduled":        {"pending/exec?command=x&stdout=1", 400, "pod pending does not have a host assigned"},
		"a log by stream":      {"p/log?container=a&stream=Stdout", 422, "stream"},
		"no node":              {"nowhere/log", 404, `pods "gone" not found`},
		"no node to run on":    {"nowhere/exec?command=x&stdout=1", 404, `pods "gone" not found`},
		"no agent":             {"lost/log", 503, "the agent of node away is not connected"},
		"nothing to run":       {"p/exec?container=a&stdout=1", 400, "you must specify at least one command for the container"},
		"nothing to connect":   {"p/exec?container=a&command=x&stdout=0&stderr=0", 400, "you must specify at least 1 of stdin, stdout, stderr"},
		"a log of nothing yet": {"pending/log", 204, ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.Get(c.Host + "/api/v1/namespaces/default/pods/" + q.path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != q.code || !strings.Contains(strings.ReplaceAll(string(body), `\"`, `"`), q.text) {
				t.Errorf("got %d %s", resp.StatusCode, body)
			}
		})
	}
}

func TestAnErrorOfTheAgentReachesTheClientOfAnExec(t *testing.T) {
	c := start(t)
	u := target(t, c, "p/exec", url.Values{"container": {"b"}, "command": {"x"}, "stdout": {"true"}})
	for name, e := range executors(t, c, u) {
		err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard})
		if err == nil || !strings.Contains(err.Error(), `container "b" is not running`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestLogs(t *testing.T) {
	c := start(t)
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	tail := int64(7)
	body, err := client.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{Container: "a", TailLines: &tail, Follow: true}).DoRaw(t.Context())
	if err != nil || string(body) != "one\ntwo tail=7\n" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestPortForwardOverBothTransports(t *testing.T) {
	c := start(t)
	u := target(t, c, "p/portforward", nil)
	ws, err := portforward.NewSPDYOverWebsocketDialer(u, c)
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, dialer := range map[string]httpstream.Dialer{
		"WebSocket": ws, "SPDY": spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u),
	} {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			defer close(stop)
			f, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = f.ForwardPorts() }()
			select {
			case <-ready:
			case <-time.After(time.Minute):
				t.Fatal("not ready")
			}
			ports, err := f.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				fmt.Fprint(conn, "hello")
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(conn)
				if err != nil || string(got) != "port 8080: hello" {
					t.Errorf("got %q, %v", got, err)
				}
				conn.Close()
			}
		})
	}
}

func TestProxy(t *testing.T) {
	c := start(t)
	base := c.Host + "/api/v1/namespaces/default/"
	for _, test := range []struct {
		name, method, path string
		code               int
		body               string
	}{
		{"a pod by its port", "GET", "pods/p:8080/proxy/a/b?c=d", 202, "GET /a/b?c=d on 8080: "},
		{"a path keeps its slash", "GET", "pods/p:8080/proxy/a/", 202, "GET /a/ on 8080: "},
		{"a pod that declares no port", "GET", "pods/p/proxy/", 202, "GET / on 80: "},
		{"with a body", "PUT", "pods/http:p:81/proxy/x", 202, "PUT /x on 81: body"},
		{"by other methods", "DELETE", "pods/p:81/proxy/x", 202, "DELETE /x on 81: "},
		{"a service by the name of a port", "GET", "services/s:web/proxy/x", 202, "GET /x on 8080: "},
		{"a service by number", "POST", "services/s:80/proxy/x", 202, "POST /x on 8080: body"},
		{"a port that the service has not", "GET", "services/s:81/proxy/x", 503, `no service port 81 found for service \"s\"`},
		{"a service without endpoints", "GET", "services/none:web/proxy/x", 503, `no endpoints available for service \"none\"`},
		{"nobody listens", "GET", "pods/p:9/proxy/x", 503, "connection refused"},
		{"a pod that does not exist", "GET", "pods/q:80/proxy/x", 404, `pods \"q\" not found`},
		{"a pod without an address", "GET", "pods/pending:80/proxy/x", 400, "address not allowed"},
		{"no port at all", "GET", "pods/p:web/proxy/x", 400, `\"web\" is no port number`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var body io.Reader
			if test.method == "PUT" || test.method == "POST" {
				body = strings.NewReader("body")
			}
			req, err := http.NewRequestWithContext(t.Context(), test.method, base+test.path, body)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != test.code || !strings.Contains(string(got), test.body) {
				t.Errorf("got %d %q, %v; want %d %q", resp.StatusCode, got, err, test.code, test.body)
			}
		})
	}
}

func TestAnUpgradePassesTheProxy(t *testing.T) {
	c := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.Host, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(conn, "GET /api/v1/namespaces/default/pods/p:8080/proxy/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	fmt.Fprint(conn, "you\n")
	if line, err := in.ReadString('\n'); line != "heard you\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestLogsOverWebSocket(t *testing.T) {
	c := start(t)
	u := "ws" + strings.TrimPrefix(c.Host, "http") + "/api/v1/namespaces/default/pods/p/log?container=a"
	dialer := websocket.Dialer{Subprotocols: []string{"binary.k8s.io"}}
	conn, resp, err := dialer.DialContext(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer conn.Close()
	var got []byte
	for {
		_, message, err := conn.ReadMessage()
		got = append(got, message...)
		if err != nil {
			break
		}
	}
	if string(got) != "one\ntwo tail=-1\n" {
		t.Errorf("got %q", got)
	}
}

func TestPortForwardOverWebSocketChannels(t *testing.T) {
	c := start(t)
	u := "ws" + strings.TrimPrefix(c.Host, "http") + "/api/v1/namespaces/default/pods/p/portforward"
	dialer := websocket.Dialer{Subprotocols: []string{"v4.channel.k8s.io"}}
	for query, code := range map[string]int{"": 400, "?ports=0": 400, "?ports=x": 400} {
		_, resp, err := dialer.DialContext(t.Context(), u+query, nil)
		if err == nil || resp == nil || resp.StatusCode != code {
			t.Errorf("%q: %v, %v", query, resp, err)
		}
	}
	conn, resp, err := dialer.DialContext(t.Context(), u+"?ports=80&ports=8080", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if err := conn.WriteMessage(websocket.BinaryMessage, []byte("\x02hello")); err != nil {
		t.Fatal(err)
	}
	got := map[byte]string{} // by channel: data and errors of the first port, then of the second
	for got[2] != "\x90\x1fport 8080: hello" || got[0] != "\x50\x00port 80: " || got[1] != "\x50\x00" || got[3] != "\x90\x1f" {
		_, message, err := conn.ReadMessage()
		if err != nil {
			t.Fatalf("%v after %q", err, got)
		}
		got[message[0]] += string(message[1:])
	}
}
