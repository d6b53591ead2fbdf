package controllers

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"kubus.dev/test/differential"
)

// Sequence is a story in a scope of its own, which is its name: letters and digits.
// Its namespace has that name too; further namespaces, and objects outside of
// namespaces, begin with the name and a dash.
type Sequence struct {
	Name  string
	Suite string
	Steps []Step
}

// Step is what is done before both sides settle.
type Step struct {
	Name string
	Do   []Action
	// Await tells that what the step leads to in the course of time is there; the
	// step does not end before, unless it never comes. nil: nothing but silence.
	Await func(Objects) bool
	// Patience is how long a side must be silent before a difference counts; 0: usual.
	Patience time.Duration
}

// Action does one thing on a side and says what was answered.
type Action func(ctx context.Context, a *Actor) string

// Actor is a side as actions see it.
type Actor struct {
	server  *differential.Server
	world   *World
	kubelet *Kubelet
	scope   string
	uids    map[string]string // of what was created, by RESOURCE/NAME
}

// Objects is what conditions are asked of.
type Objects map[Key]Object

// Get gives an object of the sequence; nil if there is none.
func (o Objects) Get(resource, name string) Object {
	for k, v := range o {
		if k.Resource == resource && k.Name == name {
			return v
		}
	}
	return nil
}

// send asks and says what the answer was, in comparable words.
func (a *Actor) send(ctx context.Context, method, path, contentType string, body Object) string {
	code, answer, err := call(ctx, a.server, method, path, contentType, body)
	switch {
	case err != nil:
		return "no answer"
	case code >= 300:
		return fmt.Sprint(code, " ", str(answer, "reason"))
	}
	return fmt.Sprint(code)
}

// create makes an object and remembers its uid.
func (a *Actor) create(ctx context.Context, resource string, doc Object) string {
	code, answer, err := call(ctx, a.server, "POST", a.path(resource, ""), "application/json", a.fill(doc).(Object))
	switch {
	case err != nil:
		return "no answer"
	case code >= 300:
		return fmt.Sprint(code, " ", str(answer, "reason"))
	}
	a.uids[resource+"/"+str(answer, "metadata", "name")] = str(answer, "metadata", "uid")
	return fmt.Sprint(code)
}

func (a *Actor) path(resource, name string) string { return path(resource, a.scope, name) }

// fill puts in a sequence's own name where a manifest says SELF, and the uid of an
// object where it says UID:RESOURCE/NAME.
func (a *Actor) fill(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := Object{}
		for k, x := range v {
			out[a.self(k)] = a.fill(x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = a.fill(v[i])
		}
		return out
	case string:
		if of, ok := strings.CutPrefix(v, "UID:"); ok {
			return a.uids[a.self(of)]
		}
		return a.self(v)
	}
	return v
}

func (a *Actor) self(s string) string { return strings.ReplaceAll(s, "SELF", a.scope) }

// Create makes an object from YAML.
func Create(resource, manifest string) Action {
	doc := yamlDoc(manifest)
	return func(ctx context.Context, a *Actor) string {
		return a.create(ctx, resource, doc)
	}
}

// CreateIn makes one in another namespace of the sequence.
func CreateIn(namespace, resource, manifest string) Action {
	doc := yamlDoc(manifest)
	return func(ctx context.Context, a *Actor) string {
		return a.send(ctx, "POST", path(resource, a.self(namespace), ""), "application/json", a.fill(doc).(Object))
	}
}

// Patch changes an object, or with a name such as "web/status" a part of it, by a merge
// patch in YAML.
func Patch(resource, name, patch string) Action {
	doc := yamlDoc(patch)
	return func(ctx context.Context, a *Actor) string {
		return a.send(ctx, "PATCH", a.path(resource, a.self(name)), "application/merge-patch+json", a.fill(doc).(Object))
	}
}

// Delete deletes an object; an empty propagation leaves that to the server.
func Delete(resource, name, propagation string) Action {
	return func(ctx context.Context, a *Actor) string {
		body := Object{"apiVersion": "v1", "kind": "DeleteOptions"}
		if propagation != "" {
			body["propagationPolicy"] = propagation
		}
		return a.send(ctx, "DELETE", a.path(resource, a.self(name)), "application/json", body)
	}
}

// OnPods does something with n living pods that have a label, from the first on; the
// pods are in the order of what they are, so both sides take the same.
func OnPods(label string, n int, do func(ctx context.Context, a *Actor, pod Object) string) Action {
	key, value, _ := strings.Cut(label, "=")
	return func(ctx context.Context, a *Actor) string {
		objects, _ := a.world.Look(a.scope)
		var chosen []Object
		for _, p := range of(objects, "pods") {
			if str(p, "metadata", "labels", key) == value && !ended(p) && str(p, "metadata", "deletionTimestamp") == "" {
				chosen = append(chosen, p)
			}
		}
		a.world.mu.Lock()
		r := a.world.scope(a.scope).names.clone().replacer()
		a.world.mu.Unlock()
		shape := map[string]string{}
		for _, p := range chosen {
			shape[str(p, "metadata", "uid")] = r.text(str(p, "metadata", "name")) + encode(r.object("pods", p))
		}
		slices.SortStableFunc(chosen, func(x, y Object) int {
			return strings.Compare(shape[str(x, "metadata", "uid")], shape[str(y, "metadata", "uid")])
		})
		var said []string
		for _, p := range chosen[:min(n, len(chosen))] {
			said = append(said, do(ctx, a, p))
		}
		return fmt.Sprint(len(chosen), " pods: ", said)
	}
}

// Exit ends the containers of a pod with a code.
func Exit(code int) func(context.Context, *Actor, Object) string {
	return func(ctx context.Context, a *Actor, pod Object) string { return done(a.kubelet.finish(ctx, pod, code)) }
}

// Ready makes a pod ready, or no longer so.
func Ready(ready bool) func(context.Context, *Actor, Object) string {
	return func(ctx context.Context, a *Actor, pod Object) string {
		return done(a.kubelet.running(ctx, pod, ready))
	}
}

// Remove deletes a pod.
func Remove(ctx context.Context, a *Actor, pod Object) string {
	return a.send(ctx, "DELETE", podPath(pod), "", nil)
}

// Merge patches a pod.
func Merge(patch string) func(context.Context, *Actor, Object) string {
	doc := yamlDoc(patch)
	return func(ctx context.Context, a *Actor, pod Object) string {
		return a.send(ctx, "PATCH", podPath(pod), "application/merge-patch+json", doc)
	}
}

// Evict asks for a pod's eviction.
func Evict(ctx context.Context, a *Actor, pod Object) string {
	return a.send(ctx, "POST", podPath(pod)+"/eviction", "application/json", Object{
		"apiVersion": "policy/v1", "kind": "Eviction", "metadata": Object{"name": str(pod, "metadata", "name"), "namespace": str(pod, "metadata", "namespace")},
	})
}

func done(err error) string {
	if err != nil {
		return "refused"
	}
	return "done"
}

// AddNode makes a node, SELF-NAME, that is ready.
func AddNode(name string) Action {
	return func(ctx context.Context, a *Actor) string {
		full := a.scope + "-" + name
		said := a.send(ctx, "POST", path("nodes", "", ""), "application/json", Object{
			"apiVersion": "v1", "kind": "Node", "metadata": Object{"name": full, "labels": Object{"of": a.scope, "kubernetes.io/hostname": full}},
		})
		return said + " " + done(a.kubelet.ready(ctx, full))
	}
}

// LoseNode silences a node: no heartbeat, nothing is started or ended on it.
func LoseNode(name string) Action {
	return func(_ context.Context, a *Actor) string {
		a.kubelet.lose(a.scope+"-"+name, true)
		return ""
	}
}

// NodeBack lets it speak again.
func NodeBack(name string) Action {
	return func(ctx context.Context, a *Actor) string {
		a.kubelet.lose(a.scope+"-"+name, false)
		return done(a.kubelet.ready(ctx, a.scope+"-"+name))
	}
}

// endScope deletes all that a sequence may have left outside of its namespaces, and its
// namespaces.
func endScope(ctx context.Context, a *Actor) string {
	a.kubelet.finale()
	objects, _ := a.world.Look(a.scope)
	for _, r := range resources {
		if r.namespaced {
			continue
		}
		for _, o := range of(objects, r.name) {
			name := str(o, "metadata", "name")
			if len(list(o, "metadata", "finalizers")) > 0 && r.name != "namespaces" {
				_ = a.send(ctx, "PATCH", path(r.name, "", name), "application/merge-patch+json", Object{"metadata": Object{"finalizers": nil}})
			}
			_ = a.send(ctx, "DELETE", path(r.name, "", name), "", nil)
			if r.name == "nodes" {
				_, _, _ = call(ctx, a.server, http.MethodDelete, leases+"/"+name, "", nil)
			}
		}
	}
	return ""
}

// emptied tells that nothing is left of a scope but what was told.
func emptied(o Objects) bool {
	for k := range o {
		if k.Resource != "events" {
			return false
		}
	}
	return true
}
