package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const configMaps = "/api/v1/namespaces/default/configmaps"

// prefix is how the names of a history's objects begin.
const prefix = "k-"

type configMap struct {
	Metadata struct {
		Name            string `json:"name,omitempty"`
		ResourceVersion string `json:"resourceVersion,omitempty"`
	} `json:"metadata"`
	Data map[string]string `json:"data"`
}

func (c *configMap) ver() Ver {
	value, _ := strconv.Atoi(c.Data["v"])
	rev, _ := strconv.ParseUint(c.Metadata.ResourceVersion, 10, 64)
	return Ver{value, rev}
}

// client is one client of one gateway after another.
type client struct {
	id    int
	rec   *Recorder
	ways  []way
	known map[string]uint64 // the newest revision it was told of each object
}

type way struct {
	url  string
	http *http.Client
}

// do makes one request and records it.
func (c *client) do(ctx context.Context, verb Verb, key string) Op {
	op := Op{Client: c.id, Verb: verb, Key: key}
	method, path, kind, body := http.MethodGet, configMaps+"/"+key, "application/json", ""
	if verb.writes() && verb != Delete {
		op.Value = c.rec.NewValue()
	}
	switch verb {
	case Create:
		method, path, body = http.MethodPost, configMaps, fmt.Sprintf(`{"metadata":{"name":%q},"data":{"v":"%d"}}`, key, op.Value)
	case Update:
		op.Expect = c.known[key]
		method, body = http.MethodPut, fmt.Sprintf(`{"metadata":{"name":%q,"resourceVersion":"%d"},"data":{"v":"%d"}}`, key, op.Expect, op.Value)
	case Patch:
		method, kind, body = http.MethodPatch, "application/merge-patch+json", fmt.Sprintf(`{"data":{"v":"%d"}}`, op.Value)
	case Delete:
		method = http.MethodDelete
	case List:
		op.Key, path = "", configMaps
	}
	w := c.ways[rand.IntN(len(c.ways))]
	if verb == Update && op.Expect == 0 {
		op.Verb, op.Value, method, body = Get, 0, http.MethodGet, "" // it has to be read first
	}
	op.Call = c.rec.Since()
	code, back, answer, err := w.request(ctx, method, path, kind, body)
	op.Return = c.rec.Since()
	op.read(code, back, answer, err)
	if op.Outcome == OK && op.Rev != 0 && op.Verb != List {
		c.known[key] = op.Rev
	}
	c.rec.Add(op)
	return op
}

func (w way) ask(ctx context.Context, path string) (int, []byte, error) {
	code, _, answer, err := w.request(ctx, http.MethodGet, path, "application/json", "")
	return code, answer, err
}

// request gives also whether the client was told to come back.
func (w way) request(ctx context.Context, method, path, kind, body string) (code int, back bool, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, strings.NewReader(body))
	if err != nil {
		return 0, false, nil, err
	}
	req.Header.Set("Content-Type", kind)
	resp, err := w.http.Do(req)
	if err != nil {
		return 0, false, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Retry-After") != "", answer, err
}

// read takes an answer. A code that says nothing of the object leaves a write's outcome
// open. A connection that was never made is a no, and so is to be told to come back: clients
// do that by themselves.
func (op *Op) read(code int, back bool, answer []byte, err error) {
	var status struct {
		Reason string `json:"reason"`
	}
	dial := &net.OpError{}
	switch {
	case err != nil && errors.As(err, &dial) && dial.Op == "dial", err == nil && back && code >= http.StatusTooManyRequests:
		op.Outcome = Refused
	case err != nil:
	case code == http.StatusOK || code == http.StatusCreated:
		op.take(answer)
	case code == http.StatusNotFound:
		op.Outcome = NotFound
	case code == http.StatusConflict:
		op.Outcome = Conflict
		if json.Unmarshal(answer, &status) == nil && status.Reason == "AlreadyExists" {
			op.Outcome = Exists
		}
	}
	if op.Outcome == Unknown && !op.Verb.writes() {
		op.Outcome = Refused
	}
}

func (op *Op) take(answer []byte) {
	switch op.Verb {
	case Delete:
		op.Outcome = OK
	case List:
		rev, items, err := readList(bytes.NewReader(answer))
		if err == nil {
			op.Outcome, op.Rev, op.Items = OK, rev, items
		}
	default:
		var c configMap
		if json.Unmarshal(answer, &c) != nil {
			return
		}
		v := c.ver()
		op.Outcome, op.Rev = OK, v.Rev
		if op.Verb == Get {
			op.Value = v.Value
		}
	}
}

func readList(from io.Reader) (uint64, map[string]Ver, error) {
	var list struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []configMap `json:"items"`
	}
	if err := json.NewDecoder(from).Decode(&list); err != nil {
		return 0, nil, err
	}
	items := map[string]Ver{}
	for _, c := range list.Items {
		if strings.HasPrefix(c.Metadata.Name, prefix) {
			items[c.Metadata.Name] = c.ver()
		}
	}
	rev, err := strconv.ParseUint(list.Metadata.ResourceVersion, 10, 64)
	return rev, items, err
}

// load is many clients that do as they like with a few objects.
type load struct {
	clients, keys int
	listEvery     int  // operations; 0: never
	updates       bool // nothing but updates of what was read
}

// telling leaves out what says little and costs much where many write one object: refusals,
// and most reads.
func (l load) telling(ops []Op) []Op {
	if !l.updates {
		return ops
	}
	return slices.DeleteFunc(ops, func(op Op) bool {
		return op.Outcome == Conflict || op.Outcome == Exists || op.Verb == Get && op.Client >= 2
	})
}

func keyName(i int) string { return fmt.Sprint(prefix, i) }

// run works until ctx ends; requests under way then get their answers.
func (l load) run(ctx context.Context, rec *Recorder, gateways []*gateway) {
	var wait sync.WaitGroup
	for id := range l.clients {
		c := &client{id: id, rec: rec, known: map[string]uint64{}}
		for _, g := range gateways {
			c.ways = append(c.ways, way{"https://" + g.address, g.client()})
		}
		wait.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				op := c.do(context.WithoutCancel(ctx), l.next(n, c), keyName(rand.IntN(l.keys)))
				if op.Outcome == Unknown || op.Outcome == Refused {
					time.Sleep(20 * time.Millisecond) // nobody is there
				}
			}
			for _, w := range c.ways {
				w.http.CloseIdleConnections()
			}
		})
	}
	wait.Wait()
}

func (l load) next(n int, c *client) Verb {
	if l.listEvery > 0 && n%l.listEvery == 0 {
		return List
	}
	if l.updates {
		return []Verb{Create, Update, Get}[min(n-1, 1+n%2)]
	}
	return []Verb{Create, Create, Create, Update, Update, Patch, Patch, Delete, Delete, Get, Get, Get}[rand.IntN(12)]
}

// watcher watches one gateway, and opens its watch again where it ended.
type watcher struct {
	log  WatchLog
	way  way
	rev  uint64 // seen so far
	mu   sync.Mutex
	done chan struct{}

	seconds int    // that a watch lasts
	until   uint64 // it ends there; 0: it does not
}

// watch runs until ctx ends.
func watch(ctx context.Context, name string, g *gateway) *watcher {
	w := &watcher{log: WatchLog{Name: name}, way: way{"https://" + g.address, g.client()}, done: make(chan struct{}), seconds: 3}
	w.way.http.Timeout = 0
	go func() { // ends with ctx
		defer close(w.done)
		for begun := false; ctx.Err() == nil; {
			var err error
			if !begun {
				if begun = w.list(ctx); !begun {
					time.Sleep(20 * time.Millisecond)
					continue
				}
			} else {
				w.add(Seen{Type: SeenResume, Rev: w.rev})
			}
			if begun, err = w.session(ctx); err != nil {
				time.Sleep(20 * time.Millisecond)
			}
		}
	}()
	return w
}

func (w *watcher) add(s Seen) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log.Seen = append(w.log.Seen, s)
	w.rev = max(w.rev, s.Rev)
}

// at is up to where the watcher has come.
func (w *watcher) at() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rev
}

func (w *watcher) list(ctx context.Context) bool {
	code, answer, err := w.way.ask(ctx, configMaps)
	if err != nil || code != http.StatusOK {
		return false
	}
	rev, items, err := readList(bytes.NewReader(answer))
	if err != nil {
		return false
	}
	w.add(Seen{Type: SeenList, Rev: rev, Items: items})
	return true
}

// session is one watch to its end; false: what came next is not known any more.
func (w *watcher) session(ctx context.Context) (bool, error) {
	path := fmt.Sprintf("%s%s?watch=1&allowWatchBookmarks=true&timeoutSeconds=%d&resourceVersion=%d", w.way.url, configMaps, w.seconds, w.rev)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return true, err
	}
	resp, err := w.way.http.Do(req)
	if err != nil {
		return true, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusGone {
		return false, nil
	}
	if resp.StatusCode != http.StatusOK {
		return true, errors.New(resp.Status)
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var ev struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := dec.Decode(&ev); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return true, err
		}
		var c configMap
		if ev.Type == "ERROR" {
			var status struct {
				Code int `json:"code"`
			}
			_ = json.Unmarshal(ev.Object, &status)
			return status.Code != http.StatusGone, fmt.Errorf("%s", ev.Object)
		}
		if err := json.Unmarshal(ev.Object, &c); err != nil {
			return true, err
		}
		v := c.ver()
		s := Seen{Key: c.Metadata.Name, Value: v.Value, Rev: v.Rev, Type: map[string]SeenType{"ADDED": SeenAdded, "MODIFIED": SeenModified, "DELETED": SeenDeleted, "BOOKMARK": SeenBookmark}[ev.Type]}
		if s.Type == SeenBookmark || strings.HasPrefix(s.Key, prefix) {
			w.add(s)
		}
		if w.until > 0 && s.Type != SeenBookmark && s.Rev >= w.until {
			return true, nil
		}
	}
}

// watchFrom gives what a watch from a revision tells up to a last one, or within two
// seconds; expired: it was answered 410.
func (g *gateway) watchFrom(t testing.TB, rev, last uint64) (got []Seen, expired bool) {
	t.Helper()
	w := &watcher{way: way{"https://" + g.address, g.client()}, rev: rev, until: last, seconds: 2}
	known, err := w.session(t.Context())
	if err != nil && known {
		t.Fatalf("a watch from %d: %v", rev, err)
	}
	w.way.http.CloseIdleConnections()
	return slices.DeleteFunc(w.log.Seen, func(s Seen) bool { return s.Type == SeenBookmark }), !known
}
