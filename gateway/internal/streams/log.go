package streams

import (
	"errors"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/features"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

// silence is how long a log may be silent before the client is told that it is
// open; until then an error of the agent can still be the answer.
const silence = 500 * time.Millisecond

// logOptions are what the query asks for, if it may.
func logOptions(req *http.Request) (*core.PodLogOptions, error) {
	o := &core.PodLogOptions{}
	if err := query(req, o); err != nil {
		return nil, err
	}
	// By stream a log is served where upstream serves it: behind a feature that is off.
	if errs := validation.ValidatePodLogOptions(o, utilfeature.DefaultFeatureGate.Enabled(features.PodLogsQuerySplitStreams)); len(errs) > 0 {
		name := ""
		if info, ok := request.RequestInfoFrom(req.Context()); ok {
			name = info.Name
		}
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, name, errs)
	}
	return o, nil
}

// withLogOptions refuses bad options before anybody looks for the pod, as upstream does.
func withLogOptions(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, err := logOptions(req); err != nil {
			responsewriters.ErrorNegotiated(err, resource.Codecs, corev1.SchemeGroupVersion, w, req)
			return
		}
		next.ServeHTTP(w, req)
	})
}

func (s *Server) logs(w http.ResponseWriter, req *http.Request, pod *corev1.Pod) error {
	o, err := logOptions(req)
	if err != nil {
		return err
	}
	container, err := containerOf(pod, o.Container)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		w.WriteHeader(http.StatusNoContent) // as upstream: there can be no log yet
		return nil
	}
	return s.sendLog(w, req, pod, logRequest(o, container))
}

// sendLog copies a container's log to the client until either ends.
func (s *Server) sendLog(w http.ResponseWriter, req *http.Request, pod *corev1.Pod, r *message.NodeRequest) error {
	t, err := s.dial(req.Context(), "log", pod, r)
	if err != nil {
		return err
	}
	defer t.Close(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() { // ends with the request
		select {
		case <-req.Context().Done():
			t.Close(errors.New("the client left"))
		case <-stop:
		}
	}()
	if wsstream.IsWebSocketRequest(req) {
		_ = wsstream.NewReader(t.Channel(stdout), true, wsstream.NewDefaultReaderProtocols()).Copy(w, req) // the client has left, or the handshake has answered
		return nil
	}
	return relay(w, t)
}

func logRequest(o *core.PodLogOptions, container string) *message.NodeRequest {
	r := &message.NodeRequest{Container: container, Follow: o.Follow, Previous: o.Previous, Timestamps: o.Timestamps, TailLines: -1}
	if o.TailLines != nil {
		r.TailLines = *o.TailLines
	}
	if o.LimitBytes != nil {
		r.LimitBytes = *o.LimitBytes
	}
	switch {
	case o.SinceSeconds != nil:
		r.SinceUnixMs = time.Now().Add(-time.Duration(*o.SinceSeconds) * time.Second).UnixMilli()
	case o.SinceTime != nil:
		r.SinceUnixMs = o.SinceTime.UnixMilli()
	}
	if o.Stream != nil {
		r.Stream = *o.Stream
	}
	return r
}

// relay copies a log to the client, each piece as it comes. An error before the
// first piece is returned; a later one ends the answer.
func relay(w http.ResponseWriter, t *tunnel.Tunnel) error {
	pieces := make(chan []byte)
	done := make(chan struct{})
	defer close(done)
	go func() { // ends with the tunnel, or when nobody takes the pieces any more
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := t.Channel(stdout).Read(buf)
			if n > 0 {
				select {
				case pieces <- buf[:n]:
				case <-done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	var first []byte
	select {
	case first = <-pieces:
		if refusal := refusal(t); first == nil && refusal != nil {
			return refusal
		}
	case <-time.After(silence):
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	if !send(w, rc, first) {
		return nil
	}
	for piece := range pieces {
		if !send(w, rc, piece) {
			return nil
		}
	}
	return nil
}

func send(w io.Writer, rc *http.ResponseController, piece []byte) bool {
	if _, err := w.Write(piece); err != nil {
		return false
	}
	return rc.Flush() == nil
}

func refusal(t *tunnel.Tunnel) error {
	var refused *tunnel.Error
	switch err := t.Err(); {
	case errors.As(err, &refused):
		return apierrors.NewBadRequest(refused.Text)
	case err != nil && !errors.Is(err, io.EOF):
		return apierrors.NewInternalError(err)
	}
	return nil
}
