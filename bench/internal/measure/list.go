package measure

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"kubus.dev/bench/internal/client"
)

// lists measures how often one client reads 10,000 pods as JSON. The pods name a
// scheduler that does not exist, so that nobody touches them meanwhile.
func lists(ctx context.Context, e *Env) (Result, error) {
	ns, remove, err := e.namespace(ctx, "list")
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
	path := "/api/v1/namespaces/" + ns + "/pods"
	rounds := max(5, int(20*e.Scale))
	var size int64
	took := make([]time.Duration, 0, rounds)
	var began time.Time
	for i := -2; i < rounds; i++ { // two to warm up
		if i == 0 {
			began = time.Now()
		}
		at := time.Now()
		if size, err = e.admin.Read(ctx, path); err != nil {
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
