package read

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// gzipThreshold is upstream's: smaller answers are not worth compressing.
const gzipThreshold = 128 << 10

// chunk is how much of a list is gathered before it is written.
const chunk = 64 << 10

// smallChunk is what a watch gathers at least.
const smallChunk = 12 << 10

// putSmall gives a small buffer back.
func putSmall(buf []byte) {
	if cap(buf) <= spliced {
		buf = buf[:0]
		smallChunks.Put(&buf)
	}
}

var (
	chunks      = sync.Pool{New: func() any { b := make([]byte, 0, chunk+16<<10); return &b }}
	smallChunks = sync.Pool{New: func() any { b := make([]byte, 0, smallChunk+4<<10); return &b }}
	gzipper     = sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			panic("gzip refuses its own level: " + err.Error())
		}
		return w
	}}
)

func wantsPretty(req *http.Request) bool {
	if strings.Contains(req.URL.RawQuery, "pretty") {
		if p := req.URL.Query().Get("pretty"); p != "" {
			pretty, err := strconv.ParseBool(p)
			return err == nil && pretty
		}
	}
	agent := req.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// compresses says whether a large answer to req is worth compressing: the client
// takes it, and the bytes leave this machine.
func compresses(req *http.Request) bool {
	accepts := false
	for _, header := range req.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(part, ";")
			accepts = accepts || strings.TrimSpace(name) == "gzip"
		}
	}
	if !accepts {
		return false
	}
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		return false // the bus, or a caller in this process
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback()
}

// respond writes a whole answer. body is JSON when s wants YAML or pretty JSON.
func respond(w http.ResponseWriter, req *http.Request, s shape, body []byte) error {
	body, err := dress(s, body)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", s.mediaType)
	if len(body) > gzipThreshold && compresses(req) {
		return writeCompressed(w, func(out io.Writer) error { _, err := out.Write(body); return err })
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if req.Method != http.MethodHead {
		_, _ = w.Write(body) // the client is gone: nobody is left to be told
	}
	return nil
}

// dress turns compact JSON into the format that was asked for.
func dress(s shape, body []byte) ([]byte, error) {
	switch {
	case s.format == formatYAML:
		out, err := yaml.JSONToYAML(body)
		if err != nil {
			return nil, fmt.Errorf("writing YAML: %w", err)
		}
		return out, nil
	case s.format == formatJSON && s.pretty:
		var out bytes.Buffer
		if err := json.Indent(&out, body, "", "  "); err != nil {
			return nil, fmt.Errorf("writing JSON: %w", err)
		}
		return out.Bytes(), nil
	}
	return body, nil
}

// sink takes an answer while it is made.
type sink interface {
	// emit takes what was gathered, once it is worth it, and gives a buffer to go on with.
	emit(buf []byte) []byte
	// pass takes what was gathered, and behind it what is not to be copied.
	pass(buf, shared []byte) []byte
}

// whole is the sink of an answer that is gathered as a whole.
type whole struct{}

func (whole) emit(buf []byte) []byte         { return buf }
func (whole) pass(buf, shared []byte) []byte { return append(buf, shared...) }

// chunked is the sink of an answer that is written in chunks. After an error it writes
// nothing more.
type chunked struct {
	out    io.Writer
	failed error
}

func (c *chunked) emit(buf []byte) []byte {
	if len(buf) < chunk {
		return buf
	}
	return c.write(buf)
}

func (c *chunked) pass(buf, shared []byte) []byte {
	buf = c.write(buf)
	c.write(shared)
	return buf
}

func (c *chunked) write(buf []byte) []byte {
	if c.failed == nil {
		_, c.failed = c.out.Write(buf)
	}
	return buf[:0]
}

// stream writes an answer as produce appends it, in chunks, so that its size does
// not matter. size is an estimate. produce hands over what it has often.
func stream(w http.ResponseWriter, req *http.Request, s shape, size int, produce producer) error {
	w.Header().Set("Content-Type", s.mediaType)
	run := func(out io.Writer) error {
		p := chunks.Get().(*[]byte)
		defer func() { chunks.Put(p) }()
		to := &chunked{out: out}
		buf, err := produce((*p)[:0], to)
		if err != nil {
			return err
		}
		to.write(buf)
		if cap(buf) <= 2*chunk {
			*p = buf[:0]
		}
		return to.failed
	}
	if size > gzipThreshold && compresses(req) {
		return writeCompressed(w, run)
	}
	return run(w)
}

func writeCompressed(w http.ResponseWriter, run func(io.Writer) error) error {
	w.Header().Set("Content-Encoding", "gzip")
	w.Header().Add("Vary", "Accept-Encoding")
	gz := gzipper.Get().(*gzip.Writer)
	gz.Reset(w)
	err := run(gz)
	if err == nil {
		err = gz.Close()
	}
	gz.Reset(io.Discard)
	gzipper.Put(gz)
	return err
}

func envelop(gvk schema.GroupVersionKind, raw []byte) []byte {
	dst := appendEnvelope(make([]byte, 0, len(raw)+96), gvk, len(raw))
	return appendEnvelopeEnd(append(dst, raw...))
}
