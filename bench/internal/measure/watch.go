package measure

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"kubus.dev/bench/internal/client"
)

// watchers measures how many events a second reach 500 watchers of one namespace
// while 16 clients create as fast as they can: from the first create to the moment
// when the last watcher has seen the last one.
func watchers(ctx context.Context, e *Env) (Result, error) {
	ns, remove, err := e.namespace(ctx, "watch")
	if err != nil {
		return Result{}, err
	}
	defer remove()
	return e.burst(ctx, configMaps, ns, "burst", e.amount(500), e.amount(1000))
}

// burst is so many watchers of a kind, who are told of so many creates.
func (e *Env) burst(ctx context.Context, k kind, ns, prefix string, count, objects int) (Result, error) {
	const perConnection = 25
	path := k.in(ns)
	marker := []byte(`"name":"` + prefix + "-")

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var opened, finished sync.WaitGroup
	var events atomic.Int64
	opened.Add(count)
	for i := 0; i < count; i += perConnection {
		c := e.Config.New()
		defer c.Close()
		for range min(perConnection, count-i) {
			finished.Go(func() {
				seen, open := 0, false
				err := c.Watch(ctx, path+"?watch=1", func(line []byte) bool {
					if !open { // the first event is that of the object made below
						open = true
						opened.Done()
					}
					if bytes.Contains(line, marker) {
						seen++
						events.Add(1)
					}
					return seen < objects
				})
				if err != nil {
					cancel(fmt.Errorf("a watcher ended after %d of %d events: %w", seen, objects, err))
					if !open {
						opened.Done()
					}
				}
			})
		}
	}
	if _, err := e.admin.Do(ctx, http.MethodPost, path, k.object(ns, "first-"+prefix, "")); err != nil {
		cancel(err)
	}
	opened.Wait()
	time.Sleep(500 * time.Millisecond)
	began := time.Now()
	_, _, err := e.parallel(ctx, 16, objects, func(ctx context.Context, c *client.Client, i int) error {
		_, err := c.Do(ctx, http.MethodPost, path, k.object(ns, fmt.Sprintf("%s-%05d", prefix, i), "a value of some length, as configuration has it"))
		return err
	})
	if err != nil {
		return Result{}, err
	}
	written := time.Since(began)
	finished.Wait()
	all := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	return Result{Value: float64(events.Load()) / all.Seconds(), More: map[string]float64{
		"writes_per_s": float64(objects) / written.Seconds(), "lag_ms": float64((all - written).Milliseconds()),
	}}, nil
}
