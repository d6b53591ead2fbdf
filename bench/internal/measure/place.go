package measure

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"
)

// place makes an object whose controller makes so many pods, which are bound to nodes
// that only this test keeps alive. What is measured is the time from the object's POST
// to the moment when a watcher has seen the last pod with a node.
func (e *Env) place(ctx context.Context, figure string, pods int, w workload) (Result, error) {
	ns, remove, err := e.namespace(ctx, figure)
	if err != nil {
		return Result{}, err
	}
	defer remove()
	nodes, err := e.registerNodes(ctx, e.Nodes)
	if err != nil {
		return Result{}, err
	}
	defer nodes.remove()
	defer e.removePods(ctx, ns)
	return e.placed(ctx, ns, pods, w)
}

// placed makes the object and waits for its pods.
func (e *Env) placed(ctx context.Context, ns string, pods int, w workload) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var created, bound []time.Time
	seen, placed := map[string]bool{}, map[string]bool{}
	wait, err := e.follow(ctx, podsOf(ns), func(ev event) bool {
		name := ev.Object.Metadata.Name
		if !seen[name] {
			seen[name] = true
			created = append(created, ev.At)
		}
		if ev.Object.Spec.NodeName != "" && !placed[name] {
			placed[name] = true
			bound = append(bound, ev.At)
		}
		return len(bound) < pods
	})
	if err != nil {
		return Result{}, err
	}
	owner := object(w.version, w.kind, ns, "load")
	owner["spec"] = w.spec(pods)
	began := time.Now()
	if _, err := e.admin.Do(ctx, http.MethodPost, "/apis/"+w.version+"/namespaces/"+ns+"/"+w.resource, owner); err != nil {
		return Result{}, err
	}
	if err := wait(); err != nil {
		return Result{}, fmt.Errorf("%d of %d pods were bound: %w", len(bound), pods, err)
	}
	all := bound[len(bound)-1].Sub(began)
	return Result{Value: float64(pods) / all.Seconds(), More: map[string]float64{
		"first_bound_ms":  float64(bound[0].Sub(began).Milliseconds()),
		"all_created_ms":  float64(created[len(created)-1].Sub(began).Milliseconds()),
		"all_bound_ms":    float64(all.Milliseconds()),
		"after_create_ms": float64(bound[len(bound)-1].Sub(created[len(created)-1]).Milliseconds()),
	}}, nil
}

func podsOf(ns string) string { return "/api/v1/namespaces/" + ns + "/pods" }

// removePods removes what makes pods and the pods at once: no agent would ever report
// them stopped.
func (e *Env) removePods(ctx context.Context, ns string) {
	if e.Keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	options := fields{"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "propagationPolicy": "Background"}
	for _, resource := range []string{"apps/v1/%s/deployments", "apps/v1/%s/statefulsets", "apps/v1/%s/daemonsets", "apps/v1/%s/replicasets", "batch/v1/%s/jobs"} {
		path := "/apis/" + fmt.Sprintf(resource, "namespaces/"+ns)
		if _, err := e.admin.Do(ctx, http.MethodDelete, path, options); err != nil {
			e.Log("removing %s: %v", path, err)
		}
	}
	err := e.until(ctx, 2*time.Minute, func() (bool, error) {
		if _, err := e.admin.Do(ctx, http.MethodDelete, podsOf(ns), options); err != nil {
			return false, err
		}
		data, err := e.admin.Do(ctx, http.MethodGet, podsOf(ns)+"?limit=1", nil)
		return bytes.Contains(data, []byte(`"items":[]`)), err
	})
	if err != nil {
		e.Log("removing the pods of %s: %v", ns, err)
	}
}
