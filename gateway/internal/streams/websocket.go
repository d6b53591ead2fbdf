package streams

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	constants "k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"kubus.dev/proto/message"
	"kubus.dev/proto/tunnel"
)

const (
	v4Channel       = "v4." + wsstream.ChannelWebSocketProtocol
	v4Base64Channel = "v4." + wsstream.Base64ChannelWebSocketProtocol
)

// serveWebSocket runs a command for a WebSocket client of any protocol version.
func serveWebSocket(w http.ResponseWriter, req *http.Request, t *tunnel.Tunnel, r *message.NodeRequest) {
	kind := func(wanted bool, k wsstream.ChannelType) wsstream.ChannelType {
		if wanted {
			return k
		}
		return wsstream.IgnoreChannel
	}
	channels := []wsstream.ChannelType{
		stdin:  kind(r.Stdin, wsstream.ReadChannel),
		stdout: kind(r.Stdout, wsstream.WriteChannel),
		stderr: kind(r.Stderr, wsstream.WriteChannel),
		status: wsstream.WriteChannel,
		resize: wsstream.ReadChannel,
	}
	binary, text := wsstream.ChannelProtocolConfig{Binary: true, Channels: channels}, wsstream.ChannelProtocolConfig{Channels: channels}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		"":                                      binary,
		wsstream.ChannelWebSocketProtocol:       binary,
		wsstream.Base64ChannelWebSocketProtocol: text,
		v4Channel:                               binary,
		v4Base64Channel:                         text,
		constants.StreamProtocolV5Name:          binary,
	})
	conn.SetIdleTimeout(idleTimeout)
	// The library logs each client that leaves as an error.
	protocol, streams, err := conn.Open(w, req.WithContext(klog.NewContext(req.Context(), klog.Logger{})))
	if err != nil {
		return // the handshake has answered
	}
	defer conn.Close()
	greet(streams, r)
	go func() { // ends with the connection: this channel has no other end
		_, _ = io.Copy(t.Channel(resize), streams[resize])
		t.Close(errors.New("the client left"))
	}()
	p := &process{t: t, request: r}
	st := p.run(streams[stdin], streams[stdout], streams[stderr])
	if st.Reason == metav1.StatusReasonInternalError {
		st.Message = "error executing command in container: " + st.Message
	}
	writeStatus(streams[status], protocol, st)
}

// greet sends an empty message, by which old clients know that the stream is open.
func greet(streams []io.ReadWriteCloser, r *message.NodeRequest) {
	id := status
	switch {
	case r.Stdout:
		id = stdout
	case r.Stderr:
		id = stderr
	}
	_, _ = streams[id].Write(nil) // a client that is gone shows at the next write
}

// writeStatus tells how the command ended: a Status since version 4, text of a
// failure before.
func writeStatus(w io.Writer, protocol string, st *metav1.Status) {
	switch protocol {
	case v4Channel, v4Base64Channel, constants.StreamProtocolV5Name:
		if body, err := json.Marshal(st); err == nil {
			_, _ = w.Write(body) // the client may have gone
		}
	default:
		if st.Status != metav1.StatusSuccess {
			_, _ = fmt.Fprint(w, st.Message) // the client may have gone
		}
	}
}
