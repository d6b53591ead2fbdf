package measure

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// resident is the memory of the server's process, in MiB, as it tells itself: of
// upstream that is kube-apiserver alone.
func (e *Env) resident(ctx context.Context) (float64, error) {
	return e.metric(ctx, "process_resident_memory_bytes", 1<<20)
}

// metric reads one number from the server's metrics and divides it.
func (e *Env) metric(ctx context.Context, name string, by float64) (float64, error) {
	data, err := e.admin.Do(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if value, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			n, err := strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
			return n / by, err
		}
	}
	return 0, fmt.Errorf("the server's metrics have no %s", name)
}
