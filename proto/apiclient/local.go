package apiclient

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"kubus.dev/proto/message"
)

// Server is a gateway in the same process: its handler chain behind authentication.
type Server interface {
	ServeAs(user string, w http.ResponseWriter, r *http.Request)
	BulkAs(ctx context.Context, user string, r *message.BulkRequest) (*message.BulkResponse, error)
	AcquireFenceAs(ctx context.Context, user string, r *message.AcquireFence) (*message.FenceState, error)
}

// Local is a Transport that calls a gateway of the same process directly.
func Local(s Server) Transport { return local{s} }

type local struct{ s Server }

func (l local) Bulk(ctx context.Context, user string, r *message.BulkRequest) (*message.BulkResponse, error) {
	return l.s.BulkAs(ctx, user, r)
}

func (l local) AcquireFence(ctx context.Context, user string, r *message.AcquireFence) (*message.FenceState, error) {
	return l.s.AcquireFenceAs(ctx, user, r)
}

// RoundTrip returns at the response's first byte; a stream goes on behind its
// body, and closing the body ends the request.
func (l local) RoundTrip(user string, r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.Clone(ctx)
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := &localWriter{header: http.Header{}, started: make(chan struct{})}
	w.cond.L = &w.mu
	go func() {
		defer cancel()
		w.finish(serveAs(l.s, user, w, in))
	}()
	select {
	case <-w.started:
	case <-r.Context().Done():
		cancel()
		return nil, r.Context().Err()
	}
	return &http.Response{
		Status: http.StatusText(w.code), StatusCode: w.code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &localBody{w, cancel}, ContentLength: -1, Request: r,
	}, nil
}

// localWriter hands a handler's bytes to one reader. The writer waits while more
// than localBuffer is unread and the handler has flushed: a stream does not run away.
type localWriter struct {
	header  http.Header
	sent    http.Header
	code    int
	started chan struct{}

	mu     sync.Mutex
	cond   sync.Cond
	buffer []byte
	end    error // why no more bytes come, once the handler has returned: io.EOF, or that the answer is cut
	closed bool  // the reader left
}

const localBuffer = 1 << 20

func (w *localWriter) Header() http.Header { return w.header }

func (w *localWriter) WriteHeader(code int) {
	if w.code == 0 && code >= 200 {
		w.code, w.sent = code, w.header.Clone()
	}
}

func (w *localWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start()
	for len(w.buffer) > localBuffer && !w.closed {
		w.cond.Wait()
	}
	if w.closed {
		return 0, errors.New("the reader of the response has left")
	}
	w.buffer = append(w.buffer, p...)
	w.cond.Broadcast()
	return len(p), nil
}

func (w *localWriter) start() {
	select {
	case <-w.started:
	default:
		close(w.started)
	}
}

// Flush lets the response begin.
func (w *localWriter) Flush() {
	w.WriteHeader(http.StatusOK)
	w.mu.Lock()
	w.start()
	w.mu.Unlock()
}

func (w *localWriter) finish(err error) {
	w.WriteHeader(http.StatusOK)
	w.mu.Lock()
	w.end = io.EOF
	if err != nil {
		w.end = err
	}
	w.start()
	w.cond.Broadcast()
	w.mu.Unlock()
}

type localBody struct {
	w      *localWriter
	cancel context.CancelFunc
}

func (b *localBody) Read(p []byte) (int, error) {
	w := b.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buffer) == 0 {
		if w.closed {
			return 0, http.ErrBodyReadAfterClose
		}
		if w.end != nil {
			return 0, w.end
		}
		w.cond.Wait()
	}
	n := copy(p, w.buffer)
	w.buffer = w.buffer[n:]
	if len(w.buffer) == 0 {
		w.buffer = nil
	}
	w.cond.Broadcast()
	return n, nil
}

func (b *localBody) Close() error {
	b.w.mu.Lock()
	b.w.closed = true
	b.w.cond.Broadcast()
	b.w.mu.Unlock()
	b.cancel()
	return nil
}
