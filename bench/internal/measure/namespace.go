package measure

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"kubus.dev/bench/internal/client"
)

// namespaces measures how fast a namespace with 5,000 ConfigMaps goes: from its DELETE
// to the moment when it is no more.
func namespaces(ctx context.Context, e *Env) (Result, error) {
	ns, remove, err := e.namespace(ctx, "namespace")
	if err != nil {
		return Result{}, err
	}
	n := e.amount(5000)
	_, _, err = e.parallel(ctx, 16, n, func(ctx context.Context, c *client.Client, i int) error {
		_, err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+ns+"/configmaps", object("v1", "ConfigMap", ns, fmt.Sprintf("m%05d", i)))
		return err
	})
	if err != nil {
		remove()
		return Result{}, err
	}
	began := time.Now()
	if _, err := e.admin.Do(ctx, http.MethodDelete, "/api/v1/namespaces/"+ns, nil); err != nil {
		return Result{}, err
	}
	err = e.until(ctx, 10*time.Minute, func() (bool, error) {
		_, err := e.admin.Do(ctx, http.MethodGet, "/api/v1/namespaces/"+ns, nil)
		return client.IsNotFound(err), ignoreNotFound(err)
	})
	if err != nil {
		return Result{}, fmt.Errorf("waiting for the end of the namespace: %w", err)
	}
	all := time.Since(began)
	return Result{Value: float64(n) / all.Seconds(), More: map[string]float64{"all_gone_ms": float64(all.Milliseconds())}}, nil
}
