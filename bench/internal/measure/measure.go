// Package measure holds what is measured: each file is one figure. A figure makes
// what it needs in a namespace of its own, measures, and removes it.
//
// Start with All.
package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kubus.dev/bench/internal/client"
)

// Figure is one thing to measure.
type Figure struct {
	Name string
	What string
	Unit string
	// Less is better; otherwise more is.
	Less bool
	Run  func(ctx context.Context, e *Env) (Result, error)
}

// All lists the figures in the order in which they are run. The first ones are of a
// server that has just begun.
func All() []Figure {
	return []Figure{
		{"discovery", "discovery and OpenAPI v3 of everything, first request", "ms", true, documents},
		{"idle", "memory after 20 s without requests", "MiB", true, idle},
		{"create", "create ConfigMap, 16 clients", "creates/s", false, creates},
		{"list", "list 10,000 pods as JSON", "lists/s", false, lists("list", "application/json")},
		{"table", "list 10,000 pods as Table", "lists/s", false, lists("table", tables)},
		{"watch", "watch burst, 500 watchers", "events/s", false, watchers},
		{"schedule", "2,000 pods of one Deployment, until all bound", "pods/s", false, schedule},
		{"job", "2,000 pods of one Job, until all bound", "pods/s", false, job},
		{"daemonset", "a DaemonSet on all nodes, until all pods are bound", "pods/s", false, daemonset},
		{"statefulset", "500 pods of one parallel StatefulSet, until all bound", "pods/s", false, statefulset},
		{"namespace", "delete a namespace with 5,000 ConfigMaps", "objects/s", false, namespaces},
		{"replace", "a pod fails, until its successor is there, p99", "ms", true, replacements},
		{"slices", "5,000 Services, one pod changes, until the slice is written, p99", "ms", true, sliceWrites},
		{"autoscale", "the load of two pods doubles, until there are four", "s", true, autoscale},
		{"memory", "memory of the controllers with 2,000 ReplicaSets, 10,000 pods", "MiB", true, memory},
		{"flood-writes", "another client's p99 beside a flood of writes", "x", true, flooded("writes")},
		{"flood-large", "another client's p99 beside a flood of 900 KB writes", "x", true, flooded("large")},
		{"flood-lists", "another client's p99 beside a flood of lists of 5,000 ConfigMaps", "x", true, flooded("lists")},
		{"flood-watches", "another client's p99 beside 2,000 unread watches of 900 KB writes", "x", true, flooded("watches")},
		{"events", "p99 of pod writes beside 1,667 Events a second", "x", true, flooded("events")},
		{"policies", "100 ValidatingAdmissionPolicies that match a create", "ms", true, policies},
		{"custom-create", "create custom resource, 16 clients, beside ConfigMap", "x", false, customCreates},
		{"custom-list", "list 5,000 custom resources, beside ConfigMaps", "x", false, customLists},
		{"custom-watch", "watch burst of custom resources, beside ConfigMaps", "x", false, customWatches},
		{"crds", "2,000 CustomResourceDefinitions, memory of each", "MiB", true, definitions},
		{"crds-restart", "restart with 2,000 CustomResourceDefinitions, until the last one is served", "s", true, restarted},
		{"custom-memory", "100,000 custom resources of 10 KiB, memory beside their JSON", "x", true, customMemory},
	}
}

// Result of one run. More has further numbers, in the unit their names say.
type Result struct {
	Value float64            `json:"value"`
	More  map[string]float64 `json:"more,omitempty"`
}

// Options say how much of each there is.
type Options struct {
	Scale          float64 // multiplies amounts; 1 is what is published
	Nodes          int     // that pods are bound to
	Keep           bool    // what was made is left, for a server that is thrown away
	ControllersPID int     // the process whose memory is measured
	Consumer       string  // image of pods that burn what they are told to
	Stop, Start    string  // commands that end the server and start it over the same data
}

// Env is where a figure runs.
type Env struct {
	Options
	Config *client.Config
	Log    func(format string, args ...any)
	admin  *client.Client
	run    string
}

// NewEnv makes an environment; run tells this run's objects from others'.
func NewEnv(cfg *client.Config, o Options, run string, log func(string, ...any)) *Env {
	return &Env{Options: o, Config: cfg, Log: log, admin: cfg.New(), run: run}
}

func (e *Env) amount(n int) int { return max(1, int(float64(n)*e.Scale)) }

// namespace makes a namespace and gives its name and what removes it.
func (e *Env) namespace(ctx context.Context, figure string) (string, func(), error) {
	name := "bench-" + figure + "-" + e.run
	_, err := e.admin.Do(ctx, http.MethodPost, "/api/v1/namespaces", object("v1", "Namespace", "", name))
	if err != nil {
		return "", nil, err
	}
	// A pod needs the namespace's ServiceAccount, which a controller makes.
	if err := e.until(ctx, time.Minute, func() (bool, error) {
		_, err := e.admin.Do(ctx, http.MethodGet, "/api/v1/namespaces/"+name+"/serviceaccounts/default", nil)
		return err == nil, ignoreNotFound(err)
	}); err != nil {
		return "", nil, fmt.Errorf("waiting for the default ServiceAccount: %w", err)
	}
	return name, func() {
		if e.Keep {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
		defer cancel()
		if _, err := e.admin.Do(ctx, http.MethodDelete, "/api/v1/namespaces/"+name, nil); err != nil {
			e.Log("removing namespace %s: %v", name, err)
			return
		}
		if err := e.until(ctx, 5*time.Minute, func() (bool, error) {
			_, err := e.admin.Do(ctx, http.MethodGet, "/api/v1/namespaces/"+name, nil)
			return client.IsNotFound(err), ignoreNotFound(err)
		}); err != nil {
			e.Log("waiting for the end of namespace %s: %v", name, err)
		}
	}, nil
}

func ignoreNotFound(err error) error {
	if client.IsNotFound(err) {
		return nil
	}
	return err
}

func (e *Env) until(ctx context.Context, patience time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// parallel does n things with so many clients, each with its own connection, and
// gives how long each took and all together.
func (e *Env) parallel(ctx context.Context, clients, n int, do func(ctx context.Context, c *client.Client, i int) error) (time.Duration, []time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	workers := make([]*client.Client, clients)
	for i := range workers {
		workers[i] = e.Config.New()
		// The handshake is not what is measured.
		if _, err := workers[i].Do(ctx, http.MethodGet, "/version", nil); err != nil {
			return 0, nil, err
		}
	}
	began := time.Now()
	for _, c := range workers {
		wg.Go(func() {
			defer c.Close()
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				at := time.Now()
				if err := do(ctx, c, i); err != nil {
					cancel(err)
					return
				}
				took[i] = time.Since(at)
			}
		})
	}
	wg.Wait()
	all := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return 0, nil, err
	}
	return all, took, nil
}

func percentiles(took []time.Duration) map[string]float64 {
	slices.Sort(took)
	at := func(p float64) float64 {
		return float64(took[min(len(took)-1, int(p*float64(len(took))))].Microseconds()) / 1000
	}
	return map[string]float64{"p50_ms": at(0.5), "p99_ms": at(0.99)}
}

// names lists a collection.
func (e *Env) names(ctx context.Context, path string) ([]string, error) {
	data, err := e.admin.Do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	var names []string
	for _, item := range list.Items {
		names = append(names, item.Metadata.Name)
	}
	return names, nil
}

// pause lets what follows from one change pass before the next.
func (e *Env) pause(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}

type fields = map[string]any

// object is the beginning of every object.
func object(version, kind, namespace, name string) fields {
	meta := fields{"name": name}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	return fields{"apiVersion": version, "kind": kind, "metadata": meta}
}
