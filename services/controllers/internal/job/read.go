package job

import (
	"context"
	"encoding/json"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"

	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// Read asks the API for a job, past all mirrors. The error may be NotFound.
func Read(ctx context.Context, w *write.Client, jobs *mirror.Kind[batchv1.Job], namespace, name string) (*batchv1.Job, error) {
	body, err := w.Read(ctx, jobs.Path(namespace, name))
	if err != nil {
		return nil, fmt.Errorf("reading job %s/%s: %w", namespace, name, err)
	}
	var found batchv1.Job
	if err := json.Unmarshal(body, &found); err != nil {
		return nil, fmt.Errorf("reading job %s/%s: %w", namespace, name, err)
	}
	return &found, nil
}
