package streams

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"

	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// As upstream's kubelet.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = 30 * time.Second
)

func (s *Server) exec(w http.ResponseWriter, req *http.Request, pod *corev1.Pod) error {
	o := &core.PodExecOptions{}
	if err := query(req, o); err != nil {
		return err
	}
	return s.command(w, req, pod, "exec", o.Container, &message.NodeRequest{Command: o.Command, Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY})
}

func (s *Server) attach(w http.ResponseWriter, req *http.Request, pod *corev1.Pod) error {
	o := &core.PodAttachOptions{}
	if err := query(req, o); err != nil {
		return err
	}
	return s.command(w, req, pod, "attach", o.Container, &message.NodeRequest{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY})
}

func (s *Server) command(w http.ResponseWriter, req *http.Request, pod *corev1.Pod, kind, container string, r *message.NodeRequest) error {
	if err := s.mayCreate(req); err != nil {
		return err
	}
	var err error
	if r.Container, err = containerOf(pod, container); err != nil {
		return err
	}
	if err := scheduled(pod); err != nil {
		return err
	}
	if kind == "exec" && len(r.Command) == 0 {
		return apierrors.NewBadRequest("you must specify at least one command for the container")
	}
	if r.Tty {
		r.Stderr = false // a terminal has one output
	}
	if !r.Stdin && !r.Stdout && !r.Stderr {
		return apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	}
	t, err := s.dial(req.Context(), kind, pod, r)
	if err != nil {
		return err
	}
	defer t.Close(nil)
	if wsstream.IsWebSocketRequest(req) {
		serveWebSocket(w, req, t, r)
		return nil
	}
	o := &remotecommand.Options{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, TTY: r.Tty}
	p := &process{t: t, request: r}
	if kind == "exec" {
		remotecommand.ServeExec(w, req, p, pod.Name, string(pod.UID), r.Container, r.Command, o, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
		return nil
	}
	remotecommand.ServeAttach(w, req, p, pod.Name, string(pod.UID), r.Container, o, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
	return nil
}

// process is a command that runs behind a tunnel.
type process struct {
	t       *tunnel.Tunnel
	request *message.NodeRequest
}

// ExecInContainer is for SPDY: streams are there, run until the command ends.
func (p *process) ExecInContainer(ctx context.Context, _, _, _ string, _ []string, in io.Reader, out, err io.WriteCloser, _ bool, sizes <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return p.AttachContainer(ctx, "", "", "", in, out, err, p.request.Tty, sizes)
}

// AttachContainer is ExecInContainer for a process that runs already.
func (p *process) AttachContainer(_ context.Context, _, _, _ string, in io.Reader, out, errOut io.WriteCloser, _ bool, sizes <-chan remotecommand.TerminalSize) error {
	if sizes != nil {
		go func() { // ends with the tunnel or when the client leaves
			encoder := json.NewEncoder(p.t.Channel(resize))
			for size := range sizes {
				if encoder.Encode(size) != nil {
					return
				}
			}
		}()
	}
	st := p.run(in, out, errOut)
	if st.Status == metav1.StatusSuccess {
		return nil
	}
	if st.Details != nil {
		for _, cause := range st.Details.Causes {
			if code, err := strconv.Atoi(cause.Message); cause.Type == remotecommand.ExitCodeCauseType && err == nil {
				return utilexec.CodeExitError{Err: errors.New(st.Message), Code: code}
			}
		}
	}
	return errors.New(st.Message)
}

// run copies until the command has ended and all its output is delivered; the
// result is its Status.
func (p *process) run(in io.Reader, out, errOut io.Writer) *metav1.Status {
	if p.request.Stdin && in != nil {
		go func() { // ends with the client or the tunnel
			ch := p.t.Channel(stdin)
			_, _ = io.Copy(ch, in)
			_ = ch.Close() // the command sees the end of its input
		}()
	}
	var outputs sync.WaitGroup
	copyTo := func(w io.Writer, id byte) {
		outputs.Go(func() {
			if _, err := io.Copy(w, p.t.Channel(id)); err != nil && p.t.Err() == nil {
				p.t.Close(errors.New("the client left"))
			}
		})
	}
	if p.request.Stdout && out != nil {
		copyTo(out, stdout)
	}
	if p.request.Stderr && errOut != nil {
		copyTo(errOut, stderr)
	}
	outputs.Wait()
	return p.status()
}

// statusMost bounds what an agent may send as a Status.
const statusMost = 64 << 10

func (p *process) status() *metav1.Status {
	body, _ := io.ReadAll(io.LimitReader(p.t.Channel(status), statusMost))
	st := &metav1.Status{}
	if err := json.Unmarshal(bytes.TrimSpace(body), st); err == nil && st.Status != "" {
		return st
	}
	text := "the connection to the container was lost"
	var refused *tunnel.Error
	if err := p.t.Err(); errors.As(err, &refused) {
		text = refused.Text
	}
	return &metav1.Status{
		Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
		Message: text,
	}
}
