package audit

import (
	"bytes"
	"compress/gzip"
	"io"
	"mime"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/gateway/internal/resource"
)

// bodyMost is the largest answer of a read that is written down whole. A larger one
// gets an annotation that says so.
const bodyMost = 8 << 20

// withBodies writes down what reads answered where the policy asks for it. Writes are
// upstream's handlers, which do so themselves; our reads send stored bytes, which
// nobody has as an object.
func withBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		ac := audit.AuditContextFrom(r.Context())
		if !ok || !info.IsResourceRequest || info.Verb != "get" && info.Verb != "list" || longSubresource(info.Subresource) ||
			ac == nil || ac.GetEventLevel() != auditinternal.LevelRequestResponse {
			next.ServeHTTP(w, r)
			return
		}
		b := &bodyWriter{ResponseWriter: w}
		next.ServeHTTP(b, r)
		b.log(r)
	})
}

func longSubresource(name string) bool {
	switch name {
	case "log", "exec", "attach", "portforward", "proxy":
		return true
	}
	return false
}

// bodyWriter keeps a copy of an answer.
type bodyWriter struct {
	http.ResponseWriter
	body bytes.Buffer
	more bool // than is kept
}

func (b *bodyWriter) Write(p []byte) (int, error) {
	if b.body.Len()+len(p) > bodyMost {
		b.more = true
	} else if !b.more {
		b.body.Write(p)
	}
	return b.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (b *bodyWriter) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *bodyWriter) log(r *http.Request) {
	if b.more {
		audit.AddAuditAnnotation(r.Context(), "audit.kubus.dev/response-omitted", "too large")
		return
	}
	body, err := b.plain()
	if err != nil || len(body) == 0 {
		return
	}
	// Objects of kinds that we know go through upstream's way, which leaves their
	// managedFields out where the policy says so.
	if obj, gvk, err := resource.Codecs.UniversalDeserializer().Decode(body, nil, nil); err == nil {
		audit.LogResponseObject(r.Context(), obj, gvk.GroupVersion(), resource.Codecs)
		return
	}
	if mediaType, _, err := mime.ParseMediaType(b.Header().Get("Content-Type")); err == nil && mediaType == runtime.ContentTypeJSON {
		audit.AuditContextFrom(r.Context()).LogResponseObject(nil, &runtime.Unknown{Raw: bytes.TrimSpace(body), ContentType: runtime.ContentTypeJSON})
	}
}

func (b *bodyWriter) plain() ([]byte, error) {
	if b.Header().Get("Content-Encoding") != "gzip" {
		return b.body.Bytes(), nil
	}
	r, err := gzip.NewReader(&b.body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, bodyMost))
}
