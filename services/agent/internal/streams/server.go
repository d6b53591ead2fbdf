package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	protobuf "google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
	"kubus.dev/services/agent/internal/logs"
	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/agent/internal/runtime"
)

// Channels of a tunnel.
const (
	stdin  = 0
	stdout = 1
	stderr = 2
	status = 3
	resize = 4
)

// Pods finds pods of the node.
type Pods interface {
	Find(namespace, name string, uid types.UID) *pod.Snapshot
	Ended(containerID string) <-chan struct{}
}

// Endpoint answers a path of the node itself.
type Endpoint func(path string) ([]byte, error)

// Server answers tunnels.
type Server struct {
	pods    Pods
	runtime runtime.Runtime
	node    Endpoint
	log     *zap.Logger
}

// New makes a server; Handle is its tunnel.Handler.
func New(pods Pods, rt runtime.Runtime, node Endpoint, log *zap.Logger) *Server {
	return &Server{pods, rt, node, log}
}

// Handle runs one tunnel.
func (s *Server) Handle(ctx context.Context, open *message.TunnelOpen, t *tunnel.Tunnel) error {
	req := &message.NodeRequest{}
	if err := protobuf.Unmarshal(open.Request, req); err != nil {
		return errors.New("unreadable request")
	}
	if open.Kind == "node" {
		return s.ofNode(req.Path, t)
	}
	p := s.pods.Find(req.Namespace, req.Pod, types.UID(req.Uid))
	if p == nil {
		return fmt.Errorf("pod %q does not exist on this node", req.Namespace+"/"+req.Pod)
	}
	s.log.Debug("stream", zap.String("kind", open.Kind), zap.String("namespace", req.Namespace), zap.String("pod", req.Pod), zap.String("container", req.Container))
	switch open.Kind {
	case "exec":
		return s.exec(ctx, p, req, t)
	case "attach":
		return s.attach(ctx, p, req, t)
	case "log":
		return s.logs(ctx, p, req, t)
	case "portforward":
		return s.forward(ctx, p, nil, req, t)
	case "proxy":
		return s.proxy(ctx, p, req, t)
	}
	return fmt.Errorf("this node does not serve %q streams", open.Kind)
}

// ofNode sends what the node says of itself.
func (s *Server) ofNode(path string, t *tunnel.Tunnel) error {
	body, err := s.node(path)
	if err != nil {
		return err
	}
	out := t.Channel(stdout)
	if _, err := out.Write(body); err != nil {
		return nil // nobody is there any more
	}
	return out.Close()
}

func (s *Server) exec(ctx context.Context, p *pod.Snapshot, req *message.NodeRequest, t *tunnel.Tunnel) error {
	c, err := p.Running(req.Container)
	if err != nil {
		return err
	}
	if len(req.Command) == 0 {
		return errors.New("you must specify at least one command for the container")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := runtime.ExecOptions{Command: req.Command, TTY: req.Tty}
	o.Stdin, o.Stdout, o.Stderr = ends(req, t)
	if req.Tty {
		o.Resize = sizes(ctx, t)
	}
	code, err := s.runtime.Exec(ctx, c.ID, o)
	return s.finish(t, code, err)
}

func (s *Server) attach(ctx context.Context, p *pod.Snapshot, req *message.NodeRequest, t *tunnel.Tunnel) error {
	c, err := p.Running(req.Container)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var o runtime.AttachOptions
	o.Stdin, o.Stdout, o.Stderr = ends(req, t)
	if req.Tty {
		o.Resize = sizes(ctx, t)
	}
	return s.finish(t, 0, s.runtime.Attach(ctx, c.ID, o))
}

// ends are the channels of the streams that were asked for; a terminal has no
// stderr of its own.
func ends(req *message.NodeRequest, t *tunnel.Tunnel) (in io.Reader, out, err io.Writer) {
	if req.Stdin {
		in = t.Channel(stdin)
	}
	if req.Stdout {
		out = t.Channel(stdout)
	}
	if req.Stderr && !req.Tty {
		err = t.Channel(stderr)
	}
	return in, out, err
}

// finish sends the final status, then lets the tunnel end in order.
func (s *Server) finish(t *tunnel.Tunnel, code int, err error) error {
	st := metav1.Status{Status: metav1.StatusSuccess}
	switch {
	case err != nil:
		st = metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: 500, Message: err.Error()}
	case code != 0:
		st = metav1.Status{
			Status: metav1.StatusFailure, Reason: "NonZeroExitCode",
			Message: fmt.Sprintf("command terminated with non-zero exit code: error executing command, exit code %d", code),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: strconv.Itoa(code)}}},
		}
	}
	body, marshalErr := json.Marshal(&st)
	if marshalErr != nil {
		return marshalErr
	}
	for _, id := range []byte{stdout, stderr} {
		_ = t.Channel(id).Close() // a peer that is gone needs no end
	}
	if _, err := t.Channel(status).Write(body); err != nil {
		return nil // nobody is there to be told
	}
	return t.Channel(status).Close()
}

// sizes turns the resize channel's JSON into sizes until it ends.
func sizes(ctx context.Context, t *tunnel.Tunnel) <-chan runtime.Size {
	out := make(chan runtime.Size, 1)
	go func() { // ends with the tunnel, which ends with its handler
		defer close(out)
		dec := json.NewDecoder(t.Channel(resize))
		for {
			var size runtime.Size
			if err := dec.Decode(&size); err != nil {
				return
			}
			select {
			case out <- size:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (s *Server) logs(ctx context.Context, p *pod.Snapshot, req *message.NodeRequest, t *tunnel.Tunnel) error {
	record, err := p.Log(req.Container, req.Previous)
	if err != nil {
		return err
	}
	o := logs.Options{Follow: req.Follow && !req.Previous, Timestamps: req.Timestamps, Tail: req.TailLines, Limit: req.LimitBytes}
	if req.SinceUnixMs > 0 {
		o.Since = time.UnixMilli(req.SinceUnixMs)
	}
	if o.Follow {
		o.Ended = s.pods.Ended(record.ID)
	}
	out := t.Channel(stdout)
	var both [2]io.Writer
	if !strings.EqualFold(req.Stream, "Stderr") {
		both[0] = out
	}
	if !strings.EqualFold(req.Stream, "Stdout") {
		both[1] = out
	}
	if err := logs.Read(ctx, record.LogPath, o, both[0], both[1]); err != nil && ctx.Err() == nil {
		return err
	}
	return out.Close()
}

// proxy reaches what listens on the pod's own address, as everybody in the cluster does.
func (s *Server) proxy(ctx context.Context, p *pod.Snapshot, req *message.NodeRequest, t *tunnel.Tunnel) error {
	if len(p.IPs) == 0 {
		return fmt.Errorf("pod %s has no address yet", req.Pod)
	}
	return s.forward(ctx, p, p.IPs, req, t)
}

func (s *Server) forward(ctx context.Context, p *pod.Snapshot, addresses []string, req *message.NodeRequest, t *tunnel.Tunnel) error {
	if p.Sandbox == nil {
		return fmt.Errorf("pod %s is not running yet", req.Pod)
	}
	if req.Port == 0 || req.Port > 65535 {
		return fmt.Errorf("invalid port %d", req.Port)
	}
	return s.runtime.PortForward(ctx, p.Sandbox.ID, addresses, uint16(req.Port), t.Channel(stdin))
}
