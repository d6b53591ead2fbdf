package measure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"

	"kubus.dev/bench/internal/client"
)

// memory measures how much memory the process of the controllers has half a minute
// after 2,000 ReplicaSets of five pods each were made and all pods bound.
func memory(ctx context.Context, e *Env) (Result, error) {
	if e.ControllersPID == 0 {
		return Result{}, errors.New("-controllers-pid says which process")
	}
	ns, remove, err := e.namespace(ctx, "memory")
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
	before, err := resident(e.ControllersPID)
	if err != nil {
		return Result{}, err
	}

	const each = 5
	sets := e.amount(2000)
	placed := map[string]bool{}
	wait, err := e.follow(ctx, podsOf(ns), func(ev event) bool {
		if ev.Object.Spec.NodeName != "" {
			placed[ev.Object.Metadata.Name] = true
		}
		return len(placed) < each*sets
	})
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	_, _, err = e.parallel(ctx, 8, sets, func(ctx context.Context, c *client.Client, i int) error {
		set := object("apps/v1", "ReplicaSet", ns, fmt.Sprintf("r%05d", i))
		app := fields{"app": fmt.Sprintf("r%05d", i)}
		set["spec"] = fields{"replicas": each, "selector": fields{"matchLabels": app},
			"template": fields{"metadata": fields{"labels": app}, "spec": podSpec("")}}
		_, err := c.Do(ctx, http.MethodPost, "/apis/apps/v1/namespaces/"+ns+"/replicasets", set)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	if err := wait(); err != nil {
		return Result{}, fmt.Errorf("%d of %d pods were bound: %w", len(placed), each*sets, err)
	}
	took := time.Since(began)
	select {
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	m, err := resident(e.ControllersPID)
	if err != nil {
		return Result{}, err
	}
	return Result{Value: m["VmRSS"], More: map[string]float64{
		"before_mib": before["VmRSS"], "most_mib": m["VmHWM"], "all_bound_ms": float64(took.Milliseconds()),
	}}, nil
}

var statusLine = regexp.MustCompile(`(?m)^(VmRSS|VmHWM):\s+(\d+) kB$`)

// resident is what a process has in memory and the most that it had, in MiB.
func resident(pid int) (map[string]float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	m := map[string]float64{}
	for _, found := range statusLine.FindAllSubmatch(data, -1) {
		kib, err := strconv.Atoi(string(found[2]))
		if err != nil {
			return nil, err
		}
		m[string(found[1])] = float64(kib) / 1024
	}
	return m, nil
}
