package measure

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"kubus.dev/bench/internal/client"
)

const definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// definition is a CustomResourceDefinition whose objects can be as ConfigMaps are, with
// a spec and status of the usual size.
func definition(group, plural, name string) fields {
	text, number := fields{"type": "string"}, fields{"type": "integer", "format": "int32"}
	many := fields{}
	for i := range 20 {
		many[fmt.Sprintf("field%d", i)] = fields{"type": "string", "description": "Field of a usual specification, described in a sentence of the usual length.", "maxLength": 100}
	}
	many["replicas"], many["selector"] = number, fields{"type": "object", "additionalProperties": text}
	d := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", plural+"."+group)
	d["spec"] = fields{
		"group": group, "scope": "Namespaced", "names": fields{"plural": plural, "singular": strings.ToLower(name), "kind": name, "listKind": name + "List"},
		"versions": []fields{{"name": "v1", "served": true, "storage": true, "subresources": fields{"status": fields{}},
			"additionalPrinterColumns": []fields{{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}},
			"schema": fields{"openAPIV3Schema": fields{"type": "object", "properties": fields{
				"data":   fields{"type": "object", "additionalProperties": text},
				"spec":   fields{"type": "object", "properties": many},
				"status": fields{"type": "object", "properties": fields{"phase": text, "observedGeneration": fields{"type": "integer", "format": "int64"}}},
			}}}}},
	}
	return d
}

// defined makes a kind and waits until it is served.
func (e *Env) defined(ctx context.Context, group, plural, name string) (kind, error) {
	k := kind{"/apis/" + group + "/v1", group + "/v1", name, plural}
	if _, err := e.admin.Do(ctx, http.MethodPost, definitionsPath, definition(group, plural, name)); err != nil && !client.IsExists(err) {
		return k, err
	}
	return k, e.served(ctx, k)
}

func (e *Env) served(ctx context.Context, k kind) error {
	for end := time.Now().Add(5 * time.Minute); ; {
		_, err := e.admin.Do(ctx, http.MethodGet, k.in("default")+"?limit=1", nil)
		if err == nil || !client.IsNotFound(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *Env) undefine(ctx context.Context, k kind) {
	name := k.resource + "." + strings.TrimSuffix(k.version, "/v1")
	if _, err := e.admin.Do(context.WithoutCancel(ctx), http.MethodDelete, definitionsPath+"/"+name, nil); err != nil && !client.IsNotFound(err) {
		e.Log("removing definition %s: %v", name, err)
	}
}

// besideConfigMaps measures the same of a custom kind and of ConfigMaps, in turns, and
// gives how many times the latter's rate the former's is.
func (e *Env) besideConfigMaps(ctx context.Context, figure string, measure func(k kind, ns string, round int) (Result, error)) (Result, error) {
	custom, err := e.defined(ctx, figure+".bench.example.com", "things", "Thing")
	if err != nil {
		return Result{}, err
	}
	defer e.undefine(ctx, custom)
	rates := map[string]float64{}
	const rounds = 3
	for round := range rounds {
		for _, k := range []kind{configMaps, custom} {
			ns, remove, err := e.namespace(ctx, fmt.Sprintf("%s-%s-%d", figure, k.resource, round))
			if err != nil {
				return Result{}, err
			}
			r, err := measure(k, ns, round)
			remove()
			if err != nil {
				return Result{}, err
			}
			rates[k.resource] += r.Value / rounds
		}
	}
	return Result{Value: rates[custom.resource] / rates[configMaps.resource], More: map[string]float64{
		"custom_per_s": rates[custom.resource], "configmaps_per_s": rates[configMaps.resource],
	}}, nil
}

func customCreates(ctx context.Context, e *Env) (Result, error) {
	return e.besideConfigMaps(ctx, "create", func(k kind, ns string, _ int) (Result, error) {
		return e.createdBy16(ctx, k, ns, e.amount(2000))
	})
}

func customLists(ctx context.Context, e *Env) (Result, error) {
	return e.besideConfigMaps(ctx, "list", func(k kind, ns string, _ int) (Result, error) {
		if _, err := e.createdBy16(ctx, k, ns, e.amount(5000)); err != nil {
			return Result{}, err
		}
		return e.readAgain(ctx, k.in(ns), "application/json", 40)
	})
}

func customWatches(ctx context.Context, e *Env) (Result, error) {
	return e.besideConfigMaps(ctx, "watch", func(k kind, ns string, round int) (Result, error) {
		return e.burst(ctx, k, ns, "burst", e.amount(200), e.amount(500))
	})
}

// thing is the i-th of many kinds, forty a group.
func thing(i int) kind {
	group := fmt.Sprintf("g%d.bench.example.com", i/40)
	return kind{"/apis/" + group + "/v1", group + "/v1", fmt.Sprint("Thing", i), fmt.Sprintf("things%d", i)}
}

// things makes so many definitions by 16 clients and waits until the last one is served;
// the function removes them, and one more.
func (e *Env) things(ctx context.Context, n int) (created, served time.Duration, remove func(), err error) {
	remove = func() {
		if e.Keep {
			return
		}
		ctx := context.WithoutCancel(ctx)
		if _, _, err := e.parallel(ctx, 16, n+1, func(ctx context.Context, c *client.Client, i int) error {
			k := thing(i)
			_, err := c.Do(ctx, http.MethodDelete, definitionsPath+"/"+k.resource+"."+strings.TrimSuffix(k.version, "/v1"), nil)
			return ignoreNotFound(err)
		}); err != nil {
			e.Log("removing definitions: %v", err)
		}
	}
	began := time.Now()
	if _, _, err = e.parallel(ctx, 16, n, func(ctx context.Context, c *client.Client, i int) error {
		k := thing(i)
		_, err := c.Do(ctx, http.MethodPost, definitionsPath, definition(strings.TrimSuffix(k.version, "/v1"), k.resource, k.name))
		return err
	}); err != nil {
		return 0, 0, remove, err
	}
	created = time.Since(began)
	err = e.served(ctx, thing(n-1))
	return created, time.Since(began), remove, err
}

// definitions measures what each of 2,000 definitions takes, how soon one more is
// served, and how soon kubectl, which has seen nothing yet, shows its objects.
func definitions(ctx context.Context, e *Env) (Result, error) {
	before, err := e.resident(ctx)
	if err != nil {
		return Result{}, err
	}
	n := e.amount(2000)
	created, all, remove, err := e.things(ctx, n)
	defer remove()
	if err != nil {
		return Result{}, err
	}
	began := time.Now()
	more := map[string]float64{"created_per_s": float64(n) / created.Seconds(), "all_served_s": all.Seconds()}
	one := thing(n)
	if _, err := e.defined(ctx, strings.TrimSuffix(one.version, "/v1"), one.resource, one.name); err != nil {
		return Result{}, err
	}
	more["one_more_served_ms"] = ms(time.Since(began))
	if more["kubectl_get_ms"], err = e.coldKubectl(ctx, one.resource); err != nil {
		return Result{}, err
	}
	time.Sleep(20 * time.Second) // what was needed only meanwhile is given back, or is not
	after, err := e.resident(ctx)
	if err != nil {
		return Result{}, err
	}
	more["memory_before_mib"], more["memory_after_mib"] = before, after
	return Result{Value: (after - before) / float64(n), More: more}, nil
}

// restarted measures how soon a server that is started again serves the last of 2,000
// definitions, and how soon a kubectl that has seen nothing yet shows its objects then.
func restarted(ctx context.Context, e *Env) (Result, error) {
	n := e.amount(2000)
	_, _, remove, err := e.things(ctx, n)
	defer remove()
	if err != nil {
		return Result{}, err
	}
	if err := e.shell(ctx, e.Stop); err != nil {
		return Result{}, fmt.Errorf("stopping the server: %w", err)
	}
	began := time.Now()
	if err := e.shell(ctx, e.Start); err != nil {
		return Result{}, fmt.Errorf("starting the server again: %w", err)
	}
	more := map[string]float64{"started_s": time.Since(began).Seconds()}
	e.admin.Close() // its connection is of the server that was
	e.admin = e.Config.New()
	if err := e.served(ctx, thing(n-1)); err != nil {
		return Result{}, err
	}
	value := time.Since(began)
	if more["kubectl_get_ms"], err = e.coldKubectl(ctx, thing(n-1).resource); err != nil {
		return Result{}, err
	}
	more["memory_mib"], err = e.resident(ctx)
	return Result{Value: value.Seconds(), More: more}, err
}

// shell runs what the command line gives for the server.
func (e *Env) shell(ctx context.Context, command string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// coldKubectl is how long the kubectl that the environment names (KUBECTL) needs to
// show objects of a kind when it has no cache.
func (e *Env) coldKubectl(ctx context.Context, resource string) (float64, error) {
	kubectl := os.Getenv("KUBECTL")
	if kubectl == "" {
		kubectl = "kubectl"
	}
	var took []time.Duration
	for range 3 {
		cache, err := os.MkdirTemp("", "kubus-bench-")
		if err != nil {
			return 0, err
		}
		began := time.Now()
		out, err := exec.CommandContext(ctx, kubectl, "--kubeconfig", e.Config.File, "--cache-dir", cache, "-n", "default", "get", resource).CombinedOutput()
		took = append(took, time.Since(began))
		_ = os.RemoveAll(cache)
		if err != nil {
			return 0, fmt.Errorf("kubectl get %s: %w: %s", resource, err, bytes.TrimSpace(out))
		}
	}
	return percentiles(took)["p50_ms"], nil
}

// customMemory measures what 100,000 custom resources of 10 KiB take, beside the size of
// their JSON as a list shows it.
func customMemory(ctx context.Context, e *Env) (Result, error) {
	k, err := e.defined(ctx, "memory.bench.example.com", "things", "Thing")
	if err != nil {
		return Result{}, err
	}
	defer e.undefine(ctx, k)
	before, err := e.resident(ctx)
	if err != nil {
		return Result{}, err
	}
	n := e.amount(100_000)
	const namespaces = 10 // a namespace's objects have a quota
	var where []string
	for i := range namespaces {
		ns, remove, err := e.namespace(ctx, fmt.Sprintf("memory-%d", i))
		if err != nil {
			return Result{}, err
		}
		defer remove()
		where = append(where, ns)
	}
	value := strings.Repeat("0123456789", 980)
	if _, _, err := e.parallel(ctx, 16, n, func(ctx context.Context, c *client.Client, i int) error {
		ns := where[i%namespaces]
		_, err := c.Do(ctx, http.MethodPost, k.in(ns), k.object(ns, fmt.Sprintf("thing-%06d", i), value))
		return err
	}); err != nil {
		return Result{}, err
	}
	peak, err := e.resident(ctx)
	if err != nil {
		return Result{}, err
	}
	var size int64
	for _, ns := range where {
		got, err := e.admin.Read(ctx, k.in(ns))
		if err != nil {
			return Result{}, err
		}
		size += got
	}
	select {
	case <-time.After(30 * time.Second):
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	after, err := e.resident(ctx)
	encoded := float64(size) / (1 << 20)
	return Result{Value: (after - before) / encoded, More: map[string]float64{"encoded_mib": encoded, "memory_before_mib": before, "memory_after_mib": after, "memory_peak_mib": peak}}, err
}
