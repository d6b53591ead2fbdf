package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"kubus.dev/bench/internal/client"
)

// fleet is nodes without agents. As a kubelet's, their statuses are written once, and
// their Leases every ten seconds.
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
		return f.register(ctx, c, f.names[i])
	})
	if err != nil {
		return nil, err
	}
	beats, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.cancel = cancel
	f.done.Go(func() { f.keep(beats) })
	// A new node is tainted until the node controller has seen it Ready.
	err = e.until(ctx, 2*time.Minute, func() (bool, error) {
		time.Sleep(400 * time.Millisecond) // a list of a thousand nodes is work
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

// register writes what a kubelet writes when it starts.
func (f *fleet) register(ctx context.Context, c *client.Client, name string) error {
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
	lease := object("coordination.k8s.io/v1", "Lease", "kube-node-lease", name)
	lease["spec"] = leaseOf(name)
	_, err = c.Do(ctx, http.MethodPost, leases, lease)
	return err
}

const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

func leaseOf(name string) fields {
	return fields{"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")}
}

func (f *fleet) beat(ctx context.Context, c *client.Client, name string) error {
	return c.Patch(ctx, leases+"/"+name, fields{"spec": leaseOf(name)})
}

func (f *fleet) remove() {
	if f.cancel != nil {
		f.cancel()
	}
	f.done.Wait()
	if f.env.Keep {
		return
	}
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
