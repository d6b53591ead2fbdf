package controllers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"kubus.dev/test/differential"
)

// resources are what is watched and compared: where each is served, and whether
// inside of namespaces.
var resources = []struct {
	prefix, name string
	namespaced   bool
}{
	{"/api/v1", "namespaces", false},
	{"/api/v1", "nodes", false},
	{"/api/v1", "persistentvolumes", false},
	{"/api/v1", "pods", true},
	{"/api/v1", "services", true},
	{"/api/v1", "endpoints", true},
	{"/api/v1", "replicationcontrollers", true},
	{"/api/v1", "persistentvolumeclaims", true},
	{"/api/v1", "resourcequotas", true},
	{"/api/v1", "serviceaccounts", true},
	{"/api/v1", "configmaps", true},
	{"/api/v1", "secrets", true},
	{"/api/v1", "events", true},
	{"/apis/apps/v1", "deployments", true},
	{"/apis/apps/v1", "replicasets", true},
	{"/apis/apps/v1", "statefulsets", true},
	{"/apis/apps/v1", "daemonsets", true},
	{"/apis/apps/v1", "controllerrevisions", true},
	{"/apis/batch/v1", "jobs", true},
	{"/apis/batch/v1", "cronjobs", true},
	{"/apis/autoscaling/v2", "horizontalpodautoscalers", true},
	{"/apis/policy/v1", "poddisruptionbudgets", true},
	{"/apis/discovery.k8s.io/v1", "endpointslices", true},
	{"/apis/storage.k8s.io/v1", "storageclasses", false},
	{"/apis/storage.k8s.io/v1", "volumeattachments", false},
	{"/apis/rbac.authorization.k8s.io/v1", "clusterroles", false},
	{"/apis/certificates.k8s.io/v1", "certificatesigningrequests", false},
	{"/apis/networking.k8s.io/v1", "servicecidrs", false},
}

// path is where an object is, a collection with an empty name.
func path(resource, namespace, name string) string {
	for _, r := range resources {
		if r.name != resource {
			continue
		}
		p := r.prefix
		if r.namespaced && namespace != "" {
			p += "/namespaces/" + namespace
		}
		p += "/" + resource
		if name != "" {
			p += "/" + name
		}
		return p
	}
	panic("not among the resources: " + resource)
}

// Key names an object.
type Key struct{ Resource, Namespace, Name string }

// Object is one, as the API shows it. Those of a World are never changed.
type Object = map[string]any

// World mirrors one cluster, scope by scope. The scope of an object is its sequence:
// what its namespace's name, or its own, has before the first dash. Run keeps it.
type World struct {
	server *differential.Server

	mu     sync.Mutex
	scopes map[string]*scope
}

type scope struct {
	objects map[Key]Object
	changed time.Time
	names   *names
	wake    []chan struct{}
}

func newWorld(server *differential.Server) *World {
	return &World{server: server, scopes: map[string]*scope{}}
}

// Run watches until ctx ends.
func (w *World) Run(ctx context.Context) error {
	failed := make(chan error, len(resources))
	for _, r := range resources {
		go func() { failed <- w.follow(ctx, r.name) }()
	}
	var first error
	for range resources {
		if err := <-failed; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// follow mirrors one resource: a list, watches from there, and from the start again
// when a watch ends.
func (w *World) follow(ctx context.Context, resource string) error {
	for failures := 0; ctx.Err() == nil; failures++ {
		err := w.once(ctx, resource)
		if err != nil && failures > 20 && ctx.Err() == nil {
			return fmt.Errorf("watching %s: %w", resource, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

func (w *World) once(ctx context.Context, resource string) error {
	var list struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
		Items []Object `json:"items"`
	}
	resp, err := w.server.Do(ctx, "GET", path(resource, "", ""), "", nil)
	if err != nil {
		return err
	}
	err = json.NewDecoder(resp.Body).Decode(&list)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("listing: %s, %w", resp.Status, err)
	}
	for _, item := range list.Items { // as a watch has them
		item["apiVersion"], item["kind"] = list.APIVersion, strings.TrimSuffix(list.Kind, "List")
	}
	w.replace(resource, list.Items)
	resp, err = w.server.Do(ctx, "GET", path(resource, "", "")+"?watch=1&allowWatchBookmarks=true&resourceVersion="+list.Metadata.ResourceVersion, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(resp.Body, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		var e struct {
			Type   string `json:"type"`
			Object Object `json:"object"`
		}
		if err := json.NewDecoder(bytes.NewReader(line)).Decode(&e); err != nil {
			return err
		}
		switch e.Type {
		case "ADDED", "MODIFIED":
			w.put(resource, e.Object)
		case "DELETED":
			w.drop(keyOf(resource, e.Object))
		case "ERROR":
			return fmt.Errorf("the watch ended: %v", e.Object["message"])
		}
	}
}

func keyOf(resource string, o Object) Key {
	return Key{resource, str(o, "metadata", "namespace"), str(o, "metadata", "name")}
}

// scopeOf tells whose an object is.
func scopeOf(k Key, o Object) string {
	of := k.Namespace
	if k.Resource == "events" && of == "default" {
		of = str(o, "involvedObject", "name")
	}
	if of == "" {
		of = k.Name
	}
	first, _, _ := strings.Cut(of, "-")
	return first
}

// scope gives one, which is made if need be. The caller holds mu.
func (w *World) scope(name string) *scope {
	s := w.scopes[name]
	if s == nil {
		s = &scope{objects: map[Key]Object{}, names: newNames(), changed: time.Now()}
		w.scopes[name] = s
	}
	return s
}

func (w *World) put(resource string, o Object) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := keyOf(resource, o)
	s := w.scope(scopeOf(k, o))
	if old := s.objects[k]; old != nil && str(old, "metadata", "resourceVersion") == str(o, "metadata", "resourceVersion") {
		return
	}
	s.objects[k] = o
	s.names.meet(resource, o)
	s.touch()
}

func (w *World) drop(k Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.scopes {
		// Events are told, and stay so when they expire.
		if _, ok := s.objects[k]; ok && k.Resource != "events" {
			delete(s.objects, k)
			s.touch()
		}
	}
}

func (w *World) replace(resource string, items []Object) {
	there := map[Key]bool{}
	for _, o := range items {
		there[keyOf(resource, o)] = true
		w.put(resource, o)
	}
	var gone []Key
	w.mu.Lock()
	for _, s := range w.scopes {
		for k := range s.objects {
			if k.Resource == resource && !there[k] {
				gone = append(gone, k)
			}
		}
	}
	w.mu.Unlock()
	for _, k := range gone {
		w.drop(k)
	}
}

func (s *scope) touch() {
	s.changed = time.Now()
	for _, c := range s.wake {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Wake gives a channel that holds something when the scope has changed since it was
// read last.
func (w *World) Wake(name string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan struct{}, 1)
	s := w.scope(name)
	s.wake = append(s.wake, c)
	return c
}

// Look gives what is in a scope and when that last changed.
func (w *World) Look(name string) (map[Key]Object, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.scope(name)
	return maps.Clone(s.objects), s.changed
}

// State is the comparable form of what is in a scope.
func (w *World) State(name string) State {
	w.mu.Lock()
	objects, n := maps.Clone(w.scope(name).objects), w.scope(name).names.clone()
	w.mu.Unlock()
	return n.state(objects)
}

// Forget lets go of a scope.
func (w *World) Forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.scopes, name)
}

// at gives the value below keys; nil if there is none.
func at(o any, keys ...string) any {
	for _, k := range keys {
		m, _ := o.(map[string]any)
		o = m[k]
	}
	return o
}

// str is at for texts.
func str(o any, keys ...string) string {
	s, _ := at(o, keys...).(string)
	return s
}

// num is at for numbers.
func num(o any, keys ...string) int {
	f, _ := at(o, keys...).(float64)
	return int(f)
}

// list is at for lists.
func list(o any, keys ...string) []any {
	l, _ := at(o, keys...).([]any)
	return l
}
