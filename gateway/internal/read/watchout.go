package read

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/net/websocket"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// writeLimit is how long a watcher may take for one write before it is cut off.
const writeLimit = 30 * time.Second

// watchOut is where a watch's frames go.
type watchOut interface {
	// write returns when the client's connection has taken the frames.
	write(frames []byte) error
}

// httpOut is the body of an answer.
type httpOut struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (o *httpOut) write(frames []byte) error {
	// Not every writer has a deadline: the bus has its own flow control.
	_ = o.rc.SetWriteDeadline(time.Now().Add(writeLimit))
	if _, err := o.w.Write(frames); err != nil {
		return err
	}
	if err := o.rc.Flush(); err != nil {
		return err
	}
	_ = o.rc.SetWriteDeadline(time.Time{})
	return nil
}

// socketOut is a WebSocket, which has a message for each event: of text for JSON, of
// bytes for protobuf.
type socketOut struct {
	conn   *websocket.Conn
	binary bool
}

// write sends one frame.
func (o *socketOut) write(frame []byte) error {
	if err := o.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	if o.binary {
		return websocket.Message.Send(o.conn, frame[frameLength:])
	}
	return websocket.Message.Send(o.conn, string(frame))
}

// asksForSocket says whether a request is for a WebSocket and could have one: over
// the bus and over HTTP/2 there are none.
func asksForSocket(w http.ResponseWriter, req *http.Request) bool {
	_, could := w.(http.Hijacker)
	return could && wsstream.IsWebSocketRequest(req)
}

// overSocket runs a watch over a WebSocket until it returns or the client leaves.
func overSocket(ctx context.Context, w http.ResponseWriter, req *http.Request, run func(context.Context, watchOut), binary bool) {
	websocket.Handler(func(conn *websocket.Conn) {
		ctx, left := context.WithCancel(ctx)
		ignored := make(chan struct{})
		go func() { // ends with the connection, which is closed below
			defer close(ignored)
			defer left()
			wsstream.IgnoreReceives(conn, 0)
		}()
		run(ctx, &socketOut{conn, binary})
		_ = conn.Close() // that the client left first is no news
		<-ignored
	}).ServeHTTP(w, req)
}
