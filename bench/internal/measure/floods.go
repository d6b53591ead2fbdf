package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kubus.dev/bench/internal/client"
)

// FloodToken is the environment variable in which a flood finds who it is.
const FloodToken = "KUBUS_BENCH_TOKEN"

// floods are their kinds.
var floods = map[string]flood{
	"writes":  {workers: 400, once: smallWrites},
	"large":   {workers: 64, once: largeWrites},
	"lists":   {workers: 400, prepare: manyObjects, once: wholeLists},
	"watches": {workers: 4, once: largeWrites},
	"events":  {workers: 32, once: eventWrites, rate: 500_000 / 300, beside: podWrites},
}

// flood is what one client asks without end, so many times at once.
type flood struct {
	workers int
	prepare func(ctx context.Context, e *Env, ns string) error // nil: nothing is needed
	once    func(ctx context.Context, c *client.Client, ns string, worker, i int) error
	rate    int // of all workers together a second; 0: as fast as they are answered
	// beside is what the other client writes; nil: small ConfigMaps.
	beside func(ctx context.Context, c *client.Client, ns, prefix string, i int) error
}

// unread is how many watches the flood of that name opens and does not read.
const unread = 2000

// Flood is one client that asks as much as it can until ctx ends.
func Flood(ctx context.Context, cfg *client.Config, kind, ns string, scale float64) (FloodResult, error) {
	f, ok := floods[kind]
	if !ok {
		return FloodResult{}, fmt.Errorf("there is no flood of %q", kind)
	}
	const perConnection = 50
	if kind == "watches" {
		done, err := doNotRead(ctx, cfg, ns, max(1, int(unread*scale)), perConnection)
		if err != nil {
			return FloodResult{}, err
		}
		defer done()
	}
	var served, refused atomic.Int64
	var wait sync.WaitGroup
	var c *client.Client
	began := time.Now()
	for worker := range f.workers {
		if worker%perConnection == 0 {
			c = cfg.New()
			defer c.Close()
		}
		own := c
		wait.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if f.rate > 0 {
					due := began.Add(time.Second * time.Duration(i*f.workers+worker) / time.Duration(f.rate))
					select {
					case <-time.After(time.Until(due)):
					case <-ctx.Done():
						return
					}
				}
				err := f.once(ctx, own, ns, worker, i)
				if err == nil {
					served.Add(1)
					continue
				}
				if ctx.Err() != nil {
					return
				}
				refused.Add(1)
				select { // as clients heed Retry-After
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
			}
		})
	}
	wait.Wait()
	return FloodResult{served.Load(), refused.Load()}, nil
}

func smallWrites(ctx context.Context, c *client.Client, ns string, worker, i int) error {
	return configMapWrites(ctx, c, ns, fmt.Sprintf("f-%d", worker), i)
}

// eventWrites are Events as recorders write them.
func eventWrites(ctx context.Context, c *client.Client, ns string, worker, i int) error {
	ev := object("v1", "Event", ns, fmt.Sprintf("pod-%d.%x", worker, i))
	now := time.Now().UTC().Format(time.RFC3339)
	ev["involvedObject"] = fields{"apiVersion": "v1", "kind": "Pod", "namespace": ns, "name": fmt.Sprintf("pod-%d", worker)}
	ev["reason"], ev["message"], ev["type"] = "Pulled", "Container image already present on machine", "Normal"
	ev["source"], ev["count"], ev["firstTimestamp"], ev["lastTimestamp"] = fields{"component": "kubelet", "host": "node-1"}, 1, now, now
	_, err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+ns+"/events", ev)
	return err
}

// podWrites are pods that nobody schedules.
func podWrites(ctx context.Context, c *client.Client, ns, prefix string, i int) error {
	_, err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+ns+"/pods", pod(ns, fmt.Sprintf("%s-%05d", prefix, i), "nobody"))
	return err
}

func configMapWrites(ctx context.Context, c *client.Client, ns, prefix string, i int) error {
	_, err := c.Do(ctx, http.MethodPost, configMaps.in(ns), configMaps.object(ns, fmt.Sprintf("%s-%05d", prefix, i), "a value of some length, as configuration has it"))
	return err
}

// large is near what an object may have.
var large = strings.Repeat("x", 900<<10)

func largeWrites(ctx context.Context, c *client.Client, ns string, worker, i int) error {
	name := fmt.Sprintf("large-%d", worker)
	cm := object("v1", "ConfigMap", ns, name)
	cm["data"] = fields{"value": large, "n": fmt.Sprint(i)}
	path := "/api/v1/namespaces/" + ns + "/configmaps"
	if i > 0 {
		_, err := c.Do(ctx, http.MethodPut, path+"/"+name, cm)
		return err
	}
	_, err := c.Do(ctx, http.MethodPost, path, cm)
	if client.IsExists(err) {
		return nil
	}
	return err
}

// manyObjects is what wholeLists lists.
func manyObjects(ctx context.Context, e *Env, ns string) error {
	_, _, err := e.parallel(ctx, 16, e.amount(5000), func(ctx context.Context, c *client.Client, i int) error {
		cm := object("v1", "ConfigMap", ns, fmt.Sprintf("listed-%05d", i))
		cm["data"] = fields{"value": large[:1000]}
		_, err := c.Do(ctx, http.MethodPost, "/api/v1/namespaces/"+ns+"/configmaps", cm)
		return err
	})
	return err
}

func wholeLists(ctx context.Context, c *client.Client, ns string, _, _ int) error {
	_, err := c.Read(ctx, "/api/v1/namespaces/"+ns+"/configmaps")
	return err
}

// doNotRead opens so many watches and reads nothing of them.
func doNotRead(ctx context.Context, cfg *client.Config, ns string, n, perConnection int) (func(), error) {
	var undo []func()
	done := func() {
		for _, f := range undo {
			f()
		}
	}
	c := cfg.New()
	defer c.Close()
	data, err := c.Do(ctx, http.MethodGet, "/api/v1/namespaces/"+ns+"/configmaps?limit=1", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading the list: %w", err)
	}
	for i := range n {
		if i%perConnection == 0 {
			c = cfg.NewSmall()
			undo = append(undo, c.Close)
		}
		body, err := c.Open(ctx, "/api/v1/namespaces/"+ns+"/configmaps?watch=1&resourceVersion="+list.Metadata.ResourceVersion)
		if client.IsRefused(err) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			done()
			return nil, fmt.Errorf("opening watch %d: %w", i, err)
		}
		undo = append(undo, func() { _ = body.Close() })
	}
	return done, nil
}
