package apiclient

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

// large is from where on an answer is compressed, so that it stays below the bus's
// largest message.
const large = 1 << 20

// gzipped marks a body that Answer has compressed and Ask is to take apart again.
const gzipped = "Kubus-Gzip"

// Ask sends a request as one message and gives the one that answers it. Nobody there is
// bus.ErrNoResponders.
func Ask(conn *bus.Conn, subject string, r *http.Request) (*http.Response, error) {
	data, err := encode(r)
	if err != nil {
		return nil, err
	}
	return ask(conn, subject, r, data)
}

// encode makes the message of a request.
func encode(r *http.Request) ([]byte, error) {
	body, err := readBody(r)
	if err != nil {
		return nil, err
	}
	msg := &message.ApiRequest{Method: r.Method, Path: r.URL.RequestURI(), Body: body}
	for name, values := range r.Header {
		for _, v := range values {
			msg.Headers = append(msg.Headers, &message.Header{Name: name, Value: v})
		}
	}
	data, err := proto.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	return data, nil
}

func ask(conn *bus.Conn, subject string, r *http.Request, data []byte) (*http.Response, error) {
	answer, err := conn.Request(r.Context(), subject, data)
	if err != nil {
		return nil, err
	}
	var resp message.ApiResponse
	if err := proto.Unmarshal(answer, &resp); err != nil {
		return nil, fmt.Errorf("decoding the response: %w", err)
	}
	header, body := Header(resp.Headers), resp.Body
	if header.Get(gzipped) != "" {
		header.Del(gzipped)
		if body, err = expand(body); err != nil {
			return nil, fmt.Errorf("decoding the response: %w", err)
		}
	}
	return &http.Response{
		Status: http.StatusText(int(resp.Code)), StatusCode: int(resp.Code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// Answer has h answer what is Asked on a subject, in a queue group, until the
// subscription is stopped. Each request runs on a goroutine of its own, which ends with
// it; its context ends with ctx.
func Answer(ctx context.Context, conn *bus.Conn, subject, queue string, h http.Handler) (*bus.Subscription, error) {
	return conn.Subscribe(subject, queue, func(m *bus.Msg) {
		own := *m
		go func() { respond(&own, answerOne(ctx, h, own.Data)) }()
	})
}

func answerOne(ctx context.Context, h http.Handler, data []byte) *message.ApiResponse {
	var r message.ApiRequest
	err := proto.Unmarshal(data, &r)
	var req *http.Request
	if err == nil {
		req, err = httpRequest(ctx, &r)
	}
	if err != nil {
		code, body := statusBody(apierrors.NewBadRequest(err.Error()))
		return &message.ApiResponse{Code: int32(code), Body: body}
	}
	w := NewRecorder()
	h.ServeHTTP(w, req)
	resp := w.Response()
	if len(resp.Body) > large {
		resp.Body = compress(resp.Body)
		resp.Headers = append(resp.Headers, &message.Header{Name: gzipped, Value: "1"})
	}
	return resp
}

func compress(body []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is a valid one
	_, _ = z.Write(body)                              // a buffer takes everything
	_ = z.Close()
	return out.Bytes()
}

// mostExpanded bounds what a body may become, so that no answer fills the memory.
const mostExpanded = 512 << 20

func expand(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, mostExpanded+1))
	if err == nil && len(out) > mostExpanded {
		err = fmt.Errorf("more than %d MiB", mostExpanded>>20)
	}
	return out, err
}
