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
	return e.createdBy16(ctx, configMaps, ns, e.amount(5000))
}

// kind is what figures that compare kinds write: an object with a map of strings.
type kind struct{ path, version, name, resource string }

var configMaps = kind{"/api/v1", "v1", "ConfigMap", "configmaps"}

func (k kind) in(ns string) string { return k.path + "/namespaces/" + ns + "/" + k.resource }

func (k kind) object(ns, name, value string) fields {
	o := object(k.version, k.name, ns, name)
	o["data"] = fields{"value": value}
	return o
}

// createdBy16 creates n objects of 1 KiB by 16 clients.
func (e *Env) createdBy16(ctx context.Context, k kind, ns string, n int) (Result, error) {
	value := strings.Repeat("x", 1000)
	create := func(prefix string) func(ctx context.Context, c *client.Client, i int) error {
		return func(ctx context.Context, c *client.Client, i int) error {
			_, err := c.Do(ctx, http.MethodPost, k.in(ns), k.object(ns, fmt.Sprintf("%s-%06d", prefix, i), value))
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
