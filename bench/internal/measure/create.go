package measure

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"kubus.dev/bench/internal/client"
)

// creates measures how many ConfigMaps of 1 KiB 16 clients create a second.
func creates(ctx context.Context, e *Env) (Result, error) {
	ns, remove, err := e.namespace(ctx, "create")
	if err != nil {
		return Result{}, err
	}
	defer remove()
	n := e.amount(5000)
	value := strings.Repeat("x", 1000)
	create := func(prefix string) func(ctx context.Context, c *client.Client, i int) error {
		return func(ctx context.Context, c *client.Client, i int) error {
			cm := object("v1", "ConfigMap", ns, fmt.Sprintf("%s-%06d", prefix, i))
			cm["data"] = fields{"value": value}
			_, err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+ns+"/configmaps", cm)
			return err
		}
	}
	if _, _, err := e.parallel(ctx, 16, n/10+1, create("warm")); err != nil {
		return Result{}, err
	}
	all, took, err := e.parallel(ctx, 16, n, create("cm"))
	if err != nil {
		return Result{}, err
	}
	return Result{Value: float64(n) / all.Seconds(), More: percentiles(took)}, nil
}
