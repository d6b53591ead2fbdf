package measure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// event is what figures read of a watched object.
type event struct {
	Type   string `json:"type"`
	Object struct {
		Code     int    `json:"code"` // of a Status
		Message  string `json:"message"`
		Metadata struct {
			Name            string            `json:"name"`
			ResourceVersion string            `json:"resourceVersion"`
			Labels          map[string]string `json:"labels"`
		} `json:"metadata"`
		Spec struct {
			NodeName string `json:"nodeName"`
		} `json:"spec"`
		Status struct {
			Phase string `json:"phase"`
		} `json:"status"`
		Endpoints []struct {
			Conditions struct {
				Ready *bool `json:"ready"`
			} `json:"conditions"`
		} `json:"endpoints"`
	} `json:"object"`
	At time.Time `json:"-"` // when it was read
}

// follow calls each with every change of a collection from now on until it returns
// false, ctx ends, or the server has forgotten where we were. What it gives at once
// waits for that and gives why it ended.
//
// A server may end a watch whose client has not kept up for a moment; as every client
// of Kubernetes this one goes on from the last version that it has seen, so nothing is
// missed, and the time that it takes is part of what is measured.
func (e *Env) follow(ctx context.Context, path string, each func(event) bool) (wait func() error, err error) {
	data, err := e.admin.Do(ctx, http.MethodGet, path+"?limit=1", nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	done := make(chan error, 1)
	go func() { done <- e.watch(ctx, path, list.Metadata.ResourceVersion, each) }() // ends with ctx
	return func() error { return <-done }, nil
}

func (e *Env) watch(ctx context.Context, path, version string, each func(event) bool) error {
	c := e.Config.New()
	defer c.Close()
	for again := 0; ; again++ {
		var refused error
		err := c.Watch(ctx, path+"?watch=1&allowWatchBookmarks=true&resourceVersion="+version, func(line []byte) bool {
			ev := event{At: time.Now()}
			if refused = json.Unmarshal(line, &ev); refused != nil {
				return false
			}
			if ev.Type == "ERROR" {
				refused = fmt.Errorf("watching %s: %d %s", path, ev.Object.Code, ev.Object.Message)
				return false
			}
			version = ev.Object.Metadata.ResourceVersion
			return ev.Type == "BOOKMARK" || each(ev)
		})
		switch {
		case refused != nil || err == nil:
			return refused
		case !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "stream error"):
			return err
		case again == 1000:
			return fmt.Errorf("watching %s: ended by the server again and again: %w", path, err)
		}
	}
}
