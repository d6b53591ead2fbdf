package measure

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"kubus.dev/bench/internal/client"
)

// schedule measures how fast the 2,000 pods of one Deployment are created and bound.
func schedule(ctx context.Context, e *Env) (Result, error) {
	labels := fields{"app": "load"}
	return e.place(ctx, "schedule", "apps/v1", "Deployment", "deployments", func(replicas int) fields {
		return fields{"replicas": replicas, "selector": fields{"matchLabels": labels},
			"template": fields{"metadata": fields{"labels": labels}, "spec": podSpec("")}}
	})
}

// job is the same for the 2,000 pods of one Job, all at once.
func job(ctx context.Context, e *Env) (Result, error) {
	return e.place(ctx, "job", "batch/v1", "Job", "jobs", func(replicas int) fields {
		spec := podSpec("")
		spec["restartPolicy"] = "Never"
		return fields{"parallelism": replicas, "completions": replicas, "template": fields{"spec": spec}}
	})
}

// place makes an object whose controller makes 2,000 pods, which are bound to 100 nodes
// that only this test keeps alive. What is measured is the time from the object's POST
// to the moment when a watcher has seen the last pod with a node.
func (e *Env) place(ctx context.Context, figure, version, kind, resource string, spec func(replicas int) fields) (Result, error) {
	ns, remove, err := e.namespace(ctx, figure)
	if err != nil {
		return Result{}, err
	}
	defer remove()
	nodes, err := e.registerNodes(ctx, e.amount(100))
	if err != nil {
		return Result{}, err
	}
	defer nodes.remove()
	defer e.removePods(ctx, ns)

	replicas := e.amount(2000)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	var created, bound []time.Time
	watching := make(chan struct{})
	done := make(chan error, 1)
	go func() { // ends with ctx or with the last pod; waited for below
		seen, placed := map[string]bool{}, map[string]bool{}
		done <- e.Config.New().Watch(ctx, "/api/v1/namespaces/"+ns+"/pods?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", func(line []byte) bool {
			now := time.Now()
			if bytes.Contains(line, []byte(`"type":"BOOKMARK"`)) {
				select {
				case <-watching:
				default:
					close(watching)
				}
				return true
			}
			var ev struct {
				Object struct {
					Metadata struct {
						Name string `json:"name"`
					} `json:"metadata"`
					Spec struct {
						NodeName string `json:"nodeName"`
					} `json:"spec"`
				} `json:"object"`
			}
			if json.Unmarshal(line, &ev) != nil {
				return true
			}
			name := ev.Object.Metadata.Name
			if !seen[name] {
				seen[name] = true
				created = append(created, now)
			}
			if ev.Object.Spec.NodeName != "" && !placed[name] {
				placed[name] = true
				bound = append(bound, now)
			}
			return len(bound) < replicas
		})
	}()
	select {
	case <-watching:
	case err := <-done:
		return Result{}, fmt.Errorf("watching pods: %w", err)
	}
	owner := object(version, kind, ns, "load")
	owner["spec"] = spec(replicas)
	began := time.Now()
	if _, err := e.admin.Do(ctx, http.MethodPost, "/apis/"+version+"/namespaces/"+ns+"/"+resource, owner); err != nil {
		return Result{}, err
	}
	if err := <-done; err != nil {
		return Result{}, fmt.Errorf("%d of %d pods were bound: %w", len(bound), replicas, err)
	}
	all := bound[len(bound)-1].Sub(began)
	return Result{Value: float64(replicas) / all.Seconds(), More: map[string]float64{
		"first_bound_ms":  float64(bound[0].Sub(began).Milliseconds()),
		"all_created_ms":  float64(created[len(created)-1].Sub(began).Milliseconds()),
		"all_bound_ms":    float64(all.Milliseconds()),
		"after_create_ms": float64(bound[len(bound)-1].Sub(created[len(created)-1]).Milliseconds()),
	}}, nil
}

// removePods removes Deployments, Jobs and their pods at once: no agent would ever
// report them stopped.
func (e *Env) removePods(ctx context.Context, ns string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	options := fields{"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "propagationPolicy": "Background"}
	for _, path := range []string{"/apis/apps/v1/namespaces/" + ns + "/deployments", "/apis/apps/v1/namespaces/" + ns + "/replicasets", "/apis/batch/v1/namespaces/" + ns + "/jobs"} {
		if _, err := e.admin.Do(ctx, http.MethodDelete, path, options); err != nil {
			e.Log("removing %s: %v", path, err)
		}
	}
	pods := "/api/v1/namespaces/" + ns + "/pods"
	err := e.until(ctx, 2*time.Minute, func() (bool, error) {
		if _, err := e.admin.Do(ctx, http.MethodDelete, pods, options); err != nil {
			return false, err
		}
		data, err := e.admin.Do(ctx, http.MethodGet, pods+"?limit=1", nil)
		return bytes.Contains(data, []byte(`"items":[]`)), err
	})
	if err != nil {
		e.Log("removing the pods of %s: %v", ns, err)
	}
}

// fleet is nodes without agents, kept Ready by status and Lease as a kubelet does.
type fleet struct {
	env    *Env
	names  []string
	cancel context.CancelFunc
	done   sync.WaitGroup
}

const heartbeat = 10 * time.Second

func (e *Env) registerNodes(ctx context.Context, n int) (*fleet, error) {
	f := &fleet{env: e}
	for i := range n {
		f.names = append(f.names, fmt.Sprintf("bench-%s-%04d", e.run, i))
	}
	_, _, err := e.parallel(ctx, 8, n, func(ctx context.Context, c *client.Client, i int) error {
		node := object("v1", "Node", "", f.names[i])
		node["metadata"].(fields)["labels"] = fields{
			"kubernetes.io/hostname": f.names[i], "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
		}
		if _, err := c.Do(ctx, http.MethodPost, "/api/v1/nodes", node); err != nil {
			return err
		}
		return f.beat(ctx, c, f.names[i])
	})
	if err != nil {
		return f, err
	}
	beats, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.cancel = cancel
	f.done.Go(func() { f.keep(beats) })
	// A new node is tainted until the node controller has seen it Ready.
	err = e.until(ctx, 2*time.Minute, func() (bool, error) {
		data, err := e.admin.Do(ctx, http.MethodGet, "/api/v1/nodes", nil)
		if err != nil {
			return false, err
		}
		var list struct {
			Items []struct {
				Spec struct {
					Taints []any `json:"taints"`
				} `json:"spec"`
			} `json:"items"`
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return false, err
		}
		free := 0
		for _, n := range list.Items {
			if len(n.Spec.Taints) == 0 {
				free++
			}
		}
		return free >= n, nil
	})
	if err != nil {
		f.remove()
		return nil, fmt.Errorf("waiting for %d nodes without taints: %w", n, err)
	}
	return f, nil
}

func (f *fleet) keep(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, name := range f.names {
			if err := f.beat(ctx, f.env.admin, name); err != nil && ctx.Err() == nil {
				f.env.Log("keeping node %s alive: %v", name, err)
			}
		}
	}
}

// beat writes the status and the Lease.
func (f *fleet) beat(ctx context.Context, c *client.Client, name string) error {
	now := time.Now().UTC()
	capacity := fields{"cpu": "32", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
	err := c.Patch(ctx, "/api/v1/nodes/"+name+"/status", fields{"status": fields{
		"capacity": capacity, "allocatable": capacity,
		"conditions": []fields{{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kept by a benchmark",
			"lastHeartbeatTime": now.Format(time.RFC3339), "lastTransitionTime": now.Format(time.RFC3339)}},
	}})
	if err != nil {
		return err
	}
	const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
	lease := object("coordination.k8s.io/v1", "Lease", "kube-node-lease", name)
	lease["spec"] = fields{"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now.Format("2006-01-02T15:04:05.000000Z")}
	if err := c.Patch(ctx, leases+"/"+name, fields{"spec": lease["spec"]}); !client.IsNotFound(err) {
		return err
	}
	_, err = c.Do(ctx, http.MethodPost, leases, lease)
	return err
}

func (f *fleet) remove() {
	if f.cancel != nil {
		f.cancel()
	}
	f.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range f.names {
		for _, path := range []string{"/api/v1/nodes/", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"} {
			if _, err := f.env.admin.Do(ctx, http.MethodDelete, path+name, nil); err != nil && !client.IsNotFound(err) {
				f.env.Log("removing %s: %v", name, err)
			}
		}
	}
}
