package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	protobuf "google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/agent/internal/runtime"
	attempt "kubus.dev/services/agent/internal/status"
)

// node has one pod, "p" in "ns": container "a" runs, "b" has ended, "c" waits.
type node struct {
	runtime.Runtime // what no stream calls
	snapshot        *pod.Snapshot
	ended           chan struct{}
}

func newNode(t *testing.T) *node {
	t.Helper()
	log := filepath.Join(t.TempDir(), "0.log")
	text := "2026-01-02T03:04:05Z stdout F one\n2026-01-02T03:04:06Z stderr F two\n2026-01-02T03:04:07Z stdout F three\n"
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	record := func(id string, state runtime.ContainerState) *attempt.Record {
		return &attempt.Record{ContainerStatus: runtime.ContainerStatus{ID: id, State: state, LogPath: log}}
	}
	s := &pod.Snapshot{
		Pod:     &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: "u"}},
		Sandbox: &runtime.Sandbox{ID: "sandbox"}, IPs: []string{"10.0.0.2"},
		Records: map[string][]*attempt.Record{"a": {record("id-a", runtime.ContainerRunning)}, "b": {record("id-b", runtime.ContainerExited)}},
	}
	for _, name := range []string{"a", "b", "c"} {
		cs := corev1.ContainerStatus{Name: name}
		if name == "c" {
			cs.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
		}
		s.Status.ContainerStatuses = append(s.Status.ContainerStatuses, cs)
	}
	return &node{snapshot: s, ended: make(chan struct{})}
}

func (n *node) Find(namespace, name string, uid types.UID) *pod.Snapshot {
	if namespace != "ns" || name != "p" || uid != "" && uid != "u" {
		return nil
	}
	return n.snapshot
}

func (n *node) Ended(string) <-chan struct{} { return n.ended }

// Exec writes what it was given, then copies its input, and ends as its command says.
func (n *node) Exec(_ context.Context, id string, o runtime.ExecOptions) (int, error) {
	fmt.Fprintf(o.Stdout, "%s %v tty=%v stderr=%v", id, o.Command, o.TTY, o.Stderr != nil)
	if o.Stderr != nil {
		fmt.Fprint(o.Stderr, "complaint")
	}
	if o.Resize != nil {
		fmt.Fprint(o.Stdout, " size=", <-o.Resize)
	}
	if o.Stdin != nil {
		fmt.Fprint(o.Stdout, " in=")
		if _, err := io.Copy(o.Stdout, o.Stdin); err != nil {
			return 0, err
		}
	}
	switch o.Command[0] {
	case "false":
		return 3, nil
	case "absent":
		return 0, errors.New(`exec: "absent": executable file not found in $PATH`)
	}
	return 0, nil
}

func (n *node) Attach(_ context.Context, id string, o runtime.AttachOptions) error {
	fmt.Fprintf(o.Stdout, "attached to %s", id)
	return nil
}

func (n *node) PortForward(_ context.Context, sandbox string, addresses []string, port uint16, conn io.ReadWriteCloser) error {
	if port == 9 {
		return errors.New("connection refused")
	}
	fmt.Fprintf(conn, "%s %v %d: ", sandbox, addresses, port)
	if _, err := io.Copy(conn, conn); err != nil {
		return err
	}
	return conn.Close()
}

// serve answers the tunnels of node "n" as the agent does.
func serve(t *testing.T, n *node) *bus.Conn {
	t.Helper()
	conn := bustest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	sub, err := tunnel.PeerAs(proto.NodeUser("n")).Serve(ctx, conn, proto.NodeTunnelSubject("n"), "", New(n, n, says, zap.NewNop()).Handle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sub.Stop)
	return conn
}

// says is what the node knows of itself.
func says(path string) ([]byte, error) {
	if path != "stats/summary" {
		return nil, fmt.Errorf("no %s here", path)
	}
	return []byte("a summary"), nil
}

func TestTheNodeIsAskedOfItself(t *testing.T) {
	conn := serve(t, newNode(t))
	for path, want := range map[string]answer{
		"stats/summary": {out: "a summary"},
		"configz":       {err: "no configz here"},
	} {
		if got := ask(t, conn, "node", &message.NodeRequest{Path: path}, "", ""); got != want {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
	}
}

// answer is all that came of a stream.
type answer struct {
	out, errs string // of channels 1 and 2; of a forwarded connection, 0
	status    metav1.Status
	err       string // the tunnel's own
}

func ask(t *testing.T, conn *bus.Conn, kind string, r *message.NodeRequest, input, size string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r.Namespace == "" {
		r.Namespace, r.Pod = "ns", "p"
	}
	body, err := protobuf.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	tn, err := tunnel.GatewayWith(proto.NodeUser("n")).Dial(ctx, conn, proto.NodeTunnelSubject("n"), &message.TunnelOpen{Kind: kind, Request: body})
	if err != nil {
		t.Fatal(err)
	}
	defer tn.Close(nil)
	if size != "" {
		fmt.Fprint(tn.Channel(resize), size)
	}
	fmt.Fprint(tn.Channel(stdin), input)
	_ = tn.Channel(stdin).Close()
	var a answer
	main := byte(stdout)
	if r.Port != 0 {
		main = stdin
	}
	read := func(channel byte) string {
		data, err := io.ReadAll(tn.Channel(channel))
		if err != nil {
			a.err = err.Error()
		}
		return string(data)
	}
	a.out = read(main)
	if kind == "exec" || kind == "attach" {
		a.errs = read(stderr)
		if text := read(status); text != "" {
			if err := json.Unmarshal([]byte(text), &a.status); err != nil {
				t.Errorf("the status is %q: %v", text, err)
			}
		}
	}
	return a
}

func TestExecAndAttach(t *testing.T) {
	conn := serve(t, newNode(t))
	all := func(r *message.NodeRequest) *message.NodeRequest {
		r.Stdout, r.Stderr = true, true
		return r
	}
	tests := []struct {
		name, kind        string
		request           *message.NodeRequest
		input, size       string
		out, errs         string
		outcome, why, err string
	}{
		{name: "a command's output and its success", kind: "exec", request: all(&message.NodeRequest{Container: "a", Command: []string{"true", "x"}}),
			out: "id-a [true x] tty=false stderr=true", errs: "complaint", outcome: "Success"},
		{name: "its input, to the end", kind: "exec", request: all(&message.NodeRequest{Container: "a", Command: []string{"cat"}, Stdin: true}), input: "hello",
			out: "id-a [cat] tty=false stderr=true in=hello", errs: "complaint", outcome: "Success"},
		{name: "a terminal has sizes and no stderr", kind: "exec", request: all(&message.NodeRequest{Container: "a", Command: []string{"sh"}, Tty: true}), size: `{"Width":80,"Height":24}`,
			out: "id-a [sh] tty=true stderr=false size={80 24}", outcome: "Success"},
		{name: "an exit code is the status' cause", kind: "exec", request: all(&message.NodeRequest{Container: "a", Command: []string{"false"}}),
			out: "id-a [false] tty=false stderr=true", errs: "complaint", outcome: "Failure", why: "exit code 3"},
		{name: "a command that could not run says so in the status", kind: "exec", request: all(&message.NodeRequest{Container: "a", Command: []string{"absent"}}),
			out: "id-a [absent] tty=false stderr=true", errs: "complaint", outcome: "Failure", why: "executable file not found"},
		{name: "no command", kind: "exec", request: all(&message.NodeRequest{Container: "a"}), err: "you must specify at least one command for the container"},
		{name: "a container that does not run", kind: "exec", request: all(&message.NodeRequest{Container: "b", Command: []string{"true"}}), err: `container not found ("b")`},
		{name: "a container that the pod has not", kind: "exec", request: all(&message.NodeRequest{Container: "x", Command: []string{"true"}}), err: "container x is not valid for pod p"},
		{name: "a pod that is not here", kind: "exec", request: all(&message.NodeRequest{Namespace: "ns", Pod: "q"}), err: `pod "ns/q" does not exist on this node`},
		{name: "another pod of the name", kind: "exec", request: all(&message.NodeRequest{Namespace: "ns", Pod: "p", Uid: "v"}), err: `pod "ns/p" does not exist on this node`},
		{name: "attach", kind: "attach", request: all(&message.NodeRequest{Container: "a"}), out: "attached to id-a", outcome: "Success"},
		{name: "attach to a container that does not run", kind: "attach", request: all(&message.NodeRequest{Container: "b"}), err: `container not found ("b")`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ask(t, conn, tt.kind, tt.request, tt.input, tt.size)
			if got.out != tt.out || got.errs != tt.errs {
				t.Errorf("stdout %q, stderr %q; want %q, %q", got.out, got.errs, tt.out, tt.errs)
			}
			if got.status.Status != tt.outcome || !strings.Contains(got.status.Message, tt.why) || got.err != tt.err {
				t.Errorf("status %s %q, error %q; want %s %q, %q", got.status.Status, got.status.Message, got.err, tt.outcome, tt.why, tt.err)
			}
		})
	}
	code := ask(t, conn, "exec", all(&message.NodeRequest{Container: "a", Command: []string{"false"}}), "", "").status
	if code.Reason != "NonZeroExitCode" || len(code.Details.Causes) != 1 || code.Details.Causes[0].Type != "ExitCode" || code.Details.Causes[0].Message != "3" {
		t.Errorf("clients read the exit code from %+v", code)
	}
}

func TestLogs(t *testing.T) {
	n := newNode(t)
	conn := serve(t, n)
	close(n.ended)
	tests := []struct {
		name     string
		request  *message.NodeRequest
		out, err string
	}{
		{"everything", &message.NodeRequest{Container: "a", TailLines: -1}, "one\ntwo\nthree\n", ""},
		{"of a container that has ended", &message.NodeRequest{Container: "b", TailLines: -1}, "one\ntwo\nthree\n", ""},
		{"the last lines", &message.NodeRequest{Container: "a", TailLines: 1}, "three\n", ""},
		{"what was written to stderr", &message.NodeRequest{Container: "a", TailLines: -1, Stream: "Stderr"}, "two\n", ""},
		{"what was written to stdout", &message.NodeRequest{Container: "a", TailLines: -1, Stream: "Stdout"}, "one\nthree\n", ""},
		{"since a time", &message.NodeRequest{Container: "a", TailLines: -1, SinceUnixMs: time.Date(2026, 1, 2, 3, 4, 7, 0, time.UTC).UnixMilli()}, "three\n", ""},
		{"followed to the container's end", &message.NodeRequest{Container: "a", TailLines: 1, Follow: true}, "three\n", ""},
		{"of an attempt before, of which there is none", &message.NodeRequest{Container: "a", TailLines: -1, Previous: true}, "", `previous terminated container "a" in pod "p" not found`},
		{"of a container that waits", &message.NodeRequest{Container: "c", TailLines: -1}, "", `container "c" in pod "p" is waiting to start: ContainerCreating`},
		{"of a container that the pod has not", &message.NodeRequest{Container: "x", TailLines: -1}, "", `container "x" in pod "p" is not available`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, conn, "log", tt.request, "", ""); got.out != tt.out || got.err != tt.err {
				t.Errorf("got %q, error %q; want %q, %q", got.out, got.err, tt.out, tt.err)
			}
		})
	}
}

func TestForwarding(t *testing.T) {
	n := newNode(t)
	conn := serve(t, n)
	tests := []struct {
		name, kind string
		port       uint32
		out, err   string
	}{
		{"port-forward reaches the pod's loopback", "portforward", 80, "sandbox [] 80: hello", ""},
		{"a proxy reaches the pod's address", "proxy", 80, "sandbox [10.0.0.2] 80: hello", ""},
		{"a refusal is the tunnel's error", "portforward", 9, "", "connection refused"},
		{"a number that is no port", "portforward", 70000, "", "invalid port 70000"},
		{"another kind of stream", "telepathy", 80, "", `this node does not serve "telepathy" streams`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, conn, tt.kind, &message.NodeRequest{Port: tt.port}, "hello", ""); got.out != tt.out || got.err != tt.err {
				t.Errorf("got %q, error %q; want %q, %q", got.out, got.err, tt.out, tt.err)
			}
		})
	}
	n.snapshot.IPs, n.snapshot.Sandbox = nil, nil
	for kind, want := range map[string]string{"portforward": "pod p is not running yet", "proxy": "pod p has no address yet"} {
		if got := ask(t, conn, kind, &message.NodeRequest{Port: 80}, "", ""); got.err != want {
			t.Errorf("%s to a pod without a sandbox: %q, want %q", kind, got.err, want)
		}
	}
}
