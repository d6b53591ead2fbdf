// Package event records Kubernetes Events about the objects the controllers work on.
//
// Recording never blocks and never fails a reconcile: events are queued (at most
// 1,000, later ones are dropped), correlated as upstream's recorder does, and
// written in bulk by Run.
package event

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/tell"
	"kubus.dev/services/controllers/internal/write"
)

const (
	backlog  = 1000
	attempts = 12
	pause    = time.Second
)

// Object is what an event is about.
type Object struct {
	schema.GroupVersionKind
	Meta metav1.Object
}

// Recorder collects events of one component.
type Recorder struct {
	component string
	writer    *write.Client
	logger    *zap.Logger
	wake      chan struct{}

	mu      sync.Mutex
	pending []corev1.Event
}

// NewRecorder returns a recorder; nothing is written until Run.
func NewRecorder(component string, writer *write.Client, logger *zap.Logger) *Recorder {
	return &Recorder{component: component, writer: writer, logger: logger, wake: make(chan struct{}, 1)}
}

// Normal records an event of type Normal.
func (r *Recorder) Normal(about Object, reason, format string, args ...any) {
	r.record(about, corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...))
}

// Warning records an event of type Warning.
func (r *Recorder) Warning(about Object, reason, format string, args ...any) {
	r.record(about, corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...))
}

func (r *Recorder) record(about Object, eventType, reason, message string) {
	now := time.Now()
	event := tell.Event(tell.Source{Component: r.component}, &corev1.ObjectReference{
		APIVersion: about.GroupVersion().String(), Kind: about.Kind,
		Namespace: about.Meta.GetNamespace(), Name: about.Meta.GetName(), UID: about.Meta.GetUID(),
		ResourceVersion: about.Meta.GetResourceVersion(),
	}, fmt.Sprintf("%x", now.UnixNano()), eventType, reason, message, now)
	r.mu.Lock()
	if len(r.pending) < backlog {
		r.pending = append(r.pending, event)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run writes what is recorded until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	memory := newCorrelator()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		r.mu.Lock()
		pending := r.pending
		r.pending = nil
		r.mu.Unlock()
		r.flush(ctx, memory, pending)
	}
}

func (r *Recorder) flush(ctx context.Context, memory *correlator, events []corev1.Event) {
	var requests []apiclient.Request
	var written []corev1.Event
	for i := range events {
		event, repeat, ok := memory.correlate(events[i], events[i].LastTimestamp.Time)
		if !ok {
			continue
		}
		request, err := requestFor(&event, repeat)
		if err != nil {
			r.logger.Error("encoding event", zap.Error(err))
			continue
		}
		requests, written = append(requests, request), append(written, event)
	}
	for attempt := 1; len(requests) > 0; attempt++ {
		results, err := r.writer.Do(ctx, requests...)
		if err == nil {
			if requests, written, err = unsettled(requests, written, results); len(requests) == 0 {
				return
			}
		}
		if attempt == attempts {
			r.logger.Warn("events lost", zap.Int("events", len(requests)), zap.Error(err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// unsettled is what is to be sent again: what the server had no way to take, and as
// new events those whose counts found no object any more. A refusal is final.
func unsettled(requests []apiclient.Request, events []corev1.Event, results []apiclient.Result) (again []apiclient.Request, of []corev1.Event, last error) {
	for i, result := range results {
		event, request := events[i], requests[i]
		switch {
		case result.Err == nil:
			continue
		case apierrors.IsNotFound(result.Err) && request.Method == "PATCH":
			event.Name = fmt.Sprintf("%s.%x", event.InvolvedObject.Name, event.LastTimestamp.UnixNano())
			fresh, err := requestFor(&event, false)
			if err != nil {
				continue
			}
			request = fresh
		case result.Code < 500 && result.Code != 429:
			continue
		}
		again, of, last = append(again, request), append(of, event), result.Err
	}
	return again, of, last
}

func requestFor(event *corev1.Event, repeat bool) (apiclient.Request, error) {
	if !repeat {
		return write.Create(write.Path("", "v1", event.Namespace, "events"), event)
	}
	return write.Merge(write.Path("", "v1", event.Namespace, "events", event.Name), map[string]any{
		"count": event.Count, "lastTimestamp": event.LastTimestamp, "message": event.Message,
	})
}
