package measure

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"kubus.dev/bench/internal/client"
)

// lists measures how often one client reads 10,000 pods in the form that accept asks
// for. The pods name a scheduler that does not exist, so that nobody touches them
// meanwhile.
func lists(figure, accept string) func(context.Context, *Env) (Result, error) {
	return func(ctx context.Context, e *Env) (Result, error) { return e.lists(ctx, figure, accept) }
}

// tables is what kubectl get asks for.
const tables = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

func (e *Env) lists(ctx context.Context, figure, accept string) (Result, error) {
	ns, remove, err := e.namespace(ctx, figure)
	if err != nil {
		return Result{}, err
	}
	defer remove()
	n := e.amount(10000)
	if _, _, err := e.parallel(ctx, 64, n, func(ctx context.Context, c *client.Client, i int) error {
		_, err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+ns+"/pods", pod(ns, fmt.Sprintf("pod-%05d", i), "nobody"))
		return err
	}); err != nil {
		return Result{}, err
	}
	return e.readAgain(ctx, "/api/v1/namespaces/"+ns+"/pods", accept, max(5, int(20*e.Scale)))
}

// readAgain measures how often a second one client reads something.
func (e *Env) readAgain(ctx context.Context, path, accept string, rounds int) (Result, error) {
	var size int64
	var err error
	took := make([]time.Duration, 0, rounds)
	var began time.Time
	for i := -2; i < rounds; i++ { // two to warm up
		if i == 0 {
			began = time.Now()
		}
		at := time.Now()
		if size, err = e.admin.ReadAs(ctx, path, accept); err != nil {
			return Result{}, err
		}
		if i >= 0 {
			took = append(took, time.Since(at))
		}
	}
	r := Result{Value: float64(rounds) / time.Since(began).Seconds(), More: percentiles(took)}
	r.More["size_mib"] = float64(size) / (1 << 20)
	return r, nil
}

// pod is a plain pod, as a Deployment's template makes it.
func pod(ns, name, scheduler string) fields {
	p := object("v1", "Pod", ns, name)
	p["metadata"].(fields)["labels"] = fields{"app": "bench", "tier": "web"}
	p["spec"] = podSpec(scheduler)
	return p
}

func podSpec(scheduler string) fields {
	spec := fields{"containers": []fields{{
		"name": "web", "image": "registry.example.com/team/web:1.2.3",
		"env":       []fields{{"name": "MODE", "value": "production"}, {"name": "PORT", "value": "8080"}},
		"ports":     []fields{{"containerPort": 8080, "name": "http"}},
		"resources": fields{"requests": fields{"cpu": "10m", "memory": "16Mi"}, "limits": fields{"memory": "64Mi"}},
	}}}
	if scheduler != "" {
		spec["schedulerName"] = scheduler
	}
	return spec
}
