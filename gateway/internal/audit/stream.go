package audit

import (
	"context"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// ackTimeout is how long the store may take to acknowledge an event.
const ackTimeout = 10 * time.Second

// stream is a backend that publishes events on the bus: JSON of audit.k8s.io/v1, one
// message a stage, in order of each batch.
type stream struct {
	conn    *bus.Conn
	encoder runtime.Encoder
	log     *zap.Logger
}

func newStream(ctx context.Context, conn *bus.Conn, replicas int, logger *zap.Logger) (*stream, error) {
	if _, err := conn.EnsureStream(ctx, proto.AuditStream, replicas); err != nil {
		return nil, err
	}
	return &stream{conn: conn, encoder: audit.Codecs.LegacyCodec(auditv1.SchemeGroupVersion), log: logger}, nil
}

func (s *stream) Run(<-chan struct{}) error { return nil }

func (s *stream) Shutdown() {}

func (s *stream) String() string { return "stream " + proto.AuditStream.Name }

// ProcessEvents waits for the store's acknowledgements; false: some events are lost,
// which is counted and logged.
func (s *stream) ProcessEvents(events ...*auditinternal.Event) bool {
	var lost error
	var failed []*auditinternal.Event
	var flying []*bus.Pending
	var sent []*auditinternal.Event
	for _, e := range events {
		data, err := runtime.Encode(s.encoder, e)
		if err == nil {
			var p *bus.Pending
			if p, err = s.conn.PublishAsync(subject(e), data, nil); err == nil {
				flying, sent = append(flying, p), append(sent, e)
				continue
			}
		}
		lost, failed = err, append(failed, e)
	}
	ctx, cancel := context.WithTimeout(context.Background(), ackTimeout) // the requests are long over
	defer cancel()
	for i, p := range flying {
		if _, err := p.Wait(ctx, ackTimeout); err != nil {
			lost, failed = err, append(failed, sent[i])
		}
	}
	if lost != nil {
		audit.HandlePluginError("stream", lost, failed...)
		s.log.Error("audit events are lost", zap.Int("events", len(failed)), zap.Error(lost))
	}
	return lost == nil
}

func subject(e *auditinternal.Event) string {
	resource := ""
	if e.ObjectRef != nil {
		resource = e.ObjectRef.Resource
	}
	return proto.AuditSubject(e.Verb, resource)
}
