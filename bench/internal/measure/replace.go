package measure

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"kubus.dev/bench/internal/client"
)

// replacements measures how long it takes until a pod that has failed has a successor:
// from the moment when its kubelet would say so, the PATCH of its status, to the
// moment when a watcher sees the new pod. One after another, in a Deployment of 500.
func replacements(ctx context.Context, e *Env) (Result, error) {
	ns, remove, err := e.namespace(ctx, "replace")
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
	pods := e.amount(500)
	if _, err := e.placed(ctx, ns, pods, deployment); err != nil {
		return Result{}, err
	}
	names, err := e.names(ctx, podsOf(ns))
	if err != nil {
		return Result{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	added := make(chan time.Time, 2*pods)
	if _, err := e.follow(ctx, podsOf(ns), func(ev event) bool {
		if ev.Type == "ADDED" {
			added <- ev.At
		}
		return true
	}); err != nil {
		return Result{}, err
	}
	var took []time.Duration
	for _, name := range names {
		at := time.Now()
		if err := e.admin.Patch(ctx, podsOf(ns)+"/"+name+"/status", fields{"status": fields{"phase": "Failed"}}); err != nil {
			return Result{}, err
		}
		select {
		case seen := <-added:
			took = append(took, seen.Sub(at))
		case <-ctx.Done():
			return Result{}, fmt.Errorf("waiting for a successor of %s: %w", name, ctx.Err())
		}
		e.pause(ctx)
	}
	more := percentiles(took)
	return Result{Value: more["p99_ms"], More: more}, nil
}

// sliceWrites measures how long it takes until the slice of a Service tells that its
// pod has become ready, or is no more, in a namespace of 5,000 Services: from the PATCH
// of the pod's status to the moment when a watcher sees the slice.
func sliceWrites(ctx context.Context, e *Env) (Result, error) {
	ns, remove, err := e.namespace(ctx, "slices")
	if err != nil {
		return Result{}, err
	}
	defer remove()
	nodes, err := e.registerNodes(ctx, 10)
	if err != nil {
		return Result{}, err
	}
	defer nodes.remove()
	defer e.removePods(ctx, ns)
	pods, services := e.amount(100), e.amount(5000)
	name := func(i int) string { return fmt.Sprintf("s%05d", i) }
	ready := func(i int, yes bool) error {
		status := map[bool]string{true: "True", false: "False"}[yes]
		ip := fmt.Sprintf("10.244.%d.%d", i/250, 1+i%250)
		return e.admin.Patch(ctx, podsOf(ns)+"/"+name(i)+"/status", fields{"status": fields{
			"phase": "Running", "podIP": ip, "podIPs": []fields{{"ip": ip}},
			"conditions": []fields{{"type": "Ready", "status": status}},
		}})
	}
	for i := range pods {
		pod := object("v1", "Pod", ns, name(i))
		pod["metadata"].(fields)["labels"] = fields{"app": name(i)}
		spec := podSpec("")
		spec["nodeName"] = nodes.names[i%len(nodes.names)]
		pod["spec"] = spec
		if _, err := e.admin.Do(ctx, http.MethodPost, podsOf(ns), pod); err != nil {
			return Result{}, err
		}
		if err := ready(i, true); err != nil {
			return Result{}, err
		}
	}
	_, _, err = e.parallel(ctx, 16, services, func(ctx context.Context, c *client.Client, i int) error {
		service := object("v1", "Service", ns, name(i))
		service["spec"] = fields{"selector": fields{"app": name(i)}, "ports": []fields{{"port": 80}}}
		_, err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+ns+"/services", service)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	slices := "/apis/discovery.k8s.io/v1/namespaces/" + ns + "/endpointslices"
	if err := e.until(ctx, 5*time.Minute, func() (bool, error) {
		names, err := e.names(ctx, slices)
		return len(names) >= services, err
	}); err != nil {
		return Result{}, fmt.Errorf("waiting for the slices of %d Services: %w", services, err)
	}
	time.Sleep(5 * time.Second) // what else follows from them is not what is measured

	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	changed := make(chan event, 1000)
	if _, err := e.follow(ctx, slices, func(ev event) bool {
		if ev.Type == "MODIFIED" {
			changed <- ev
		}
		return true
	}); err != nil {
		return Result{}, err
	}
	var took []time.Duration
	for n := range 5 * pods {
		i, yes := n%pods, n/pods%2 == 1 // each in turn not ready, then ready
		at := time.Now()
		if err := ready(i, yes); err != nil {
			return Result{}, err
		}
		for told := false; !told; {
			select {
			case ev := <-changed:
				if ev.Object.Metadata.Labels["kubernetes.io/service-name"] == name(i) {
					took, told = append(took, ev.At.Sub(at)), true
				}
			case <-ctx.Done():
				return Result{}, fmt.Errorf("waiting for the slice of %s: %w", name(i), ctx.Err())
			}
		}
		e.pause(ctx)
	}
	more := percentiles(took)
	return Result{Value: more["p99_ms"], More: more}, nil
}
