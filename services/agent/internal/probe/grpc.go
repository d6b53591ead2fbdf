package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
)

// The health protocol of gRPC is one request over HTTP/2 with a message of two
// fields: small enough to speak it without the gRPC library.

const serving = 1 // grpc.health.v1.HealthCheckResponse.SERVING

func newH2C() *http.Client {
	t := &http.Transport{DisableKeepAlives: true, Proxy: nil, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: t}
}

func (r *Runner) grpc(ctx context.Context, g *corev1.GRPCAction, podIP string) Outcome {
	addr := net.JoinHostPort(podIP, strconv.Itoa(int(g.Port)))
	service := ""
	if g.Service != nil {
		service = *g.Service
	}
	msg := protowire.AppendTag(nil, 1, protowire.BytesType)
	msg = protowire.AppendString(msg, service)
	frame := append([]byte{0}, binary.BigEndian.AppendUint32(nil, uint32(len(msg)))...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/grpc.health.v1.Health/Check", bytes.NewReader(append(frame, msg...)))
	if err != nil {
		return Outcome{Err: err}
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	req.Header.Set("User-Agent", UserAgent)
	resp, err := r.h2c.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return Outcome{Message: fmt.Sprintf("timeout: failed to connect service %q within the probe's timeout: %v", addr, err)}
		}
		return Outcome{Message: fmt.Sprintf("error: failed to connect service %q: %v", addr, err)}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return Outcome{Message: fmt.Sprintf("error: health rpc probe failed: %v", err)}
	}
	code, text := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if code == "" {
		code, text = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	switch {
	case code == "12":
		return Outcome{Message: fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", text)}
	case code != "0":
		return Outcome{Message: fmt.Sprintf("error: health rpc probe failed: rpc error: code = %s desc = %s", code, text)}
	}
	if s := servingStatus(body); s != serving {
		return Outcome{Message: fmt.Sprintf("service unhealthy (responded with %q)", statusName(s))}
	}
	return Outcome{OK: true}
}

// servingStatus reads field 1 of the answer's only message; 0 when it is not there.
func servingStatus(body []byte) uint64 {
	if len(body) < 5 || body[0] != 0 {
		return 0
	}
	msg := body[5:]
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return 0
		}
		msg = msg[n:]
		if num == 1 && typ == protowire.VarintType {
			v, n := protowire.ConsumeVarint(msg)
			if n < 0 {
				return 0
			}
			return v
		}
		n = protowire.ConsumeFieldValue(num, typ, msg)
		if n < 0 {
			return 0
		}
		msg = msg[n:]
	}
	return 0
}

func statusName(s uint64) string {
	if names := [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}; s < uint64(len(names)) {
		return names[s]
	}
	return strconv.FormatUint(s, 10)
}
