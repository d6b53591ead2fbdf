package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/scheduler/internal/report"
)

// Writer writes conditions and events as one bulk of independent requests.
type Writer struct {
	client *apiclient.Client
	log    *zap.Logger
}

// NewWriter makes a writer.
func NewWriter(client *apiclient.Client, logger *zap.Logger) *Writer { return &Writer{client, logger} }

// Write implements report.Writer.
func (w *Writer) Write(ctx context.Context, conditions []report.Condition, events []corev1.Event) error {
	requests := make([]apiclient.Request, 0, len(conditions)+len(events))
	for _, c := range conditions {
		r, err := conditionRequest(c.Pod.Namespace, c.Pod.Name, c.Pod.UID, c.PodCondition)
		if err != nil {
			return fmt.Errorf("encoding a condition: %w", err)
		}
		requests = append(requests, r)
	}
	for i := range events {
		body, err := json.Marshal(&events[i])
		if err != nil {
			return fmt.Errorf("encoding an event: %w", err)
		}
		requests = append(requests, apiclient.Request{Method: http.MethodPost, Path: "/api/v1/namespaces/" + events[i].Namespace + "/events", Body: body})
	}
	results, err := w.client.Bulk(ctx, apiclient.BulkOptions{}, requests)
	if err != nil {
		return fmt.Errorf("writing %d conditions and %d events: %w", len(conditions), len(events), err)
	}
	for i, r := range results {
		// A pod or namespace that is gone by now needs no report.
		if r.Err != nil && !apierrors.IsNotFound(r.Err) && !apierrors.IsConflict(r.Err) && !apierrors.IsForbidden(r.Err) {
			w.log.Warn("a report was refused", zap.String("path", requests[i].Path), zap.Error(r.Err))
		}
	}
	return nil
}
