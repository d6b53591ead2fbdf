package measure

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// aggregated is how clients ask for discovery in two documents.
const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"

// documents measures how long one client needs to read what there is and how it is
// described: discovery, the index of OpenAPI v3, and each document of it.
func documents(ctx context.Context, e *Env) (Result, error) {
	first, size, n, err := e.readDocuments(ctx)
	if err != nil {
		return Result{}, err
	}
	again, _, _, err := e.readDocuments(ctx)
	if err != nil {
		return Result{}, err
	}
	return Result{Value: first, More: map[string]float64{"again_ms": again, "documents": float64(n), "size_mib": float64(size) / (1 << 20)}}, nil
}

func (e *Env) readDocuments(ctx context.Context) (ms float64, size int64, n int, _ error) {
	c := e.Config.New()
	defer c.Close()
	began := time.Now()
	for _, path := range []string{"/api", "/apis"} {
		got, err := c.ReadAs(ctx, path, aggregated)
		if err != nil {
			return 0, 0, 0, err
		}
		size += got
	}
	data, err := c.Do(ctx, "GET", "/openapi/v3", nil)
	if err != nil {
		return 0, 0, 0, err
	}
	var index struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return 0, 0, 0, fmt.Errorf("reading the index: %w", err)
	}
	var urls []string
	for _, p := range index.Paths {
		urls = append(urls, p.URL)
	}
	slices.Sort(urls)
	for _, url := range urls {
		got, err := c.Read(ctx, url)
		if err != nil {
			return 0, 0, 0, err
		}
		size += got
	}
	return float64(time.Since(began).Microseconds()) / 1000, size, len(urls) + 3, nil
}

// idle measures what the server's process takes when nobody asks anything.
func idle(ctx context.Context, e *Env) (Result, error) {
	select {
	case <-time.After(20 * time.Second):
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	mib, err := e.resident(ctx)
	return Result{Value: mib}, err
}
