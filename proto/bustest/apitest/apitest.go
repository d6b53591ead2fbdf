// Package apitest gives tests of services an API that holds just what they put
// there: get, list, watch and create, in memory, without rules of its own. It uses
// no sockets, so it works inside a testing/synctest bubble.
//
// Start with New and Client.
package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
)

// API is safe for concurrent use.
type API struct {
	mu       sync.Mutex
	objects  map[string]map[string]any // by path
	history  []event                   // the revision of an event is its index plus one
	changed  chan struct{}             // closed and replaced with each change
	away     bool
	answers  map[string]func(body []byte) (any, error)
	requests []string
}

type event struct {
	verb, path string
	object     map[string]any
}

// New makes an API without objects.
func New() *API {
	return &API{objects: map[string]map[string]any{}, changed: make(chan struct{}), answers: map[string]func([]byte) (any, error){}}
}

// Client speaks to the API as a user, who may do everything.
func (a *API) Client(user string) *apiclient.Client { return apiclient.New(apiclient.Local(a), user) }

// Put creates or replaces the object at a path, such as
// /api/v1/namespaces/default/pods/web, and gives it the next resourceVersion.
func (a *API) Put(path string, object any) {
	data, err := json.Marshal(object)
	var o map[string]any
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	if err != nil {
		panic(fmt.Sprintf("apitest: the object for %s cannot be encoded: %v", path, err))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	verb := "ADDED"
	if a.objects[path] != nil {
		verb = "MODIFIED"
	}
	_, namespace, name := split(path)
	a.commit(verb, path, o, map[string]string{"namespace": namespace, "name": name})
	a.objects[path] = o
}

// Delete takes the object at a path away; there must be one.
func (a *API) Delete(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := (&unstructured.Unstructured{Object: a.objects[path]}).DeepCopy().Object
	delete(a.objects, path)
	a.commit("DELETED", path, o, nil)
}

// commit adds to the history; the lock is held.
func (a *API) commit(verb, path string, o map[string]any, metadata map[string]string) {
	for key, value := range metadata {
		if value != "" {
			set(o, value, "metadata", key)
		}
	}
	set(o, strconv.Itoa(len(a.history)+1), "metadata", "resourceVersion")
	a.history = append(a.history, event{verb, path, o})
	a.wake()
}

func (a *API) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func set(o map[string]any, value string, field ...string) {
	if err := unstructured.SetNestedField(o, value, field...); err != nil {
		panic("apitest: " + err.Error())
	}
}

// Away makes every request fail and every watch end, until it is called again.
func (a *API) Away(away bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = away
	a.wake()
}

// Answer says what comes of a POST to a path.
func (a *API) Answer(path string, answer func(body []byte) (any, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[path] = answer
}

// Requests lists what was asked so far, as "METHOD URI".
func (a *API) Requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// ServeAs makes API an apiclient.Server.
func (a *API) ServeAs(_ string, w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.requests = append(a.requests, r.Method+" "+r.URL.RequestURI())
	away, object, answer := a.away, a.objects[r.URL.Path], a.answers[r.URL.Path]
	a.mu.Unlock()
	selector, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	_, _, name := split(r.URL.Path)
	switch {
	case away:
		fail(w, apierrors.NewServiceUnavailable("the API is away"))
	case err != nil:
		fail(w, apierrors.NewBadRequest(err.Error()))
	case r.Method == http.MethodPost && answer != nil:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			fail(w, apierrors.NewBadRequest(err.Error()))
			return
		}
		out, err := answer(body)
		if err != nil {
			fail(w, err)
			return
		}
		write(w, http.StatusCreated, out)
	case r.Method != http.MethodGet:
		fail(w, apierrors.NewMethodNotSupported(schema.GroupResource{Resource: r.URL.Path}, r.Method))
	case r.URL.Query().Get("watch") != "":
		a.watch(w, r, selector)
	case object != nil:
		write(w, http.StatusOK, object)
	case name != "":
		fail(w, apierrors.NewNotFound(schema.GroupResource{}, name))
	default:
		a.list(w, r.URL.Path, selector)
	}
}

func (a *API) list(w http.ResponseWriter, path string, selector fields.Selector) {
	a.mu.Lock()
	items := []any{}
	for at, o := range a.objects {
		if matches(path, at, o, selector) {
			items = append(items, o)
		}
	}
	revision := len(a.history)
	a.mu.Unlock()
	write(w, http.StatusOK, map[string]any{"metadata": map[string]any{"resourceVersion": strconv.Itoa(revision)}, "items": items})
}

func (a *API) watch(w http.ResponseWriter, r *http.Request, selector fields.Selector) {
	next, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil {
		fail(w, apierrors.NewBadRequest("a watch needs a resourceVersion"))
		return
	}
	w.WriteHeader(http.StatusOK)
	enc := json.NewEncoder(w)
	for {
		a.mu.Lock()
		fresh, changed, away := a.history[next:], a.changed, a.away
		a.mu.Unlock()
		if away {
			return
		}
		for _, e := range fresh {
			if matches(r.URL.Path, e.path, e.object, selector) && enc.Encode(map[string]any{"type": e.verb, "object": e.object}) != nil {
				return
			}
		}
		next += len(fresh)
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// matches tells whether a collection holds an object.
func matches(collection, path string, o map[string]any, selector fields.Selector) bool {
	resource, namespace, _ := split(collection)
	r, n, _ := split(path)
	if r != resource || namespace != "" && n != namespace {
		return false
	}
	for _, req := range selector.Requirements() {
		value, _, _ := unstructured.NestedString(o, strings.Split(req.Field, ".")...)
		if value != req.Value {
			return false
		}
	}
	return true
}

// split takes a path apart; resource includes group and version, name is empty for
// a collection.
func split(path string) (resource, namespace, name string) {
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	n := 2 // api/VERSION
	if parts[0] == "apis" {
		n = 3
	}
	group, rest := strings.Join(parts[:min(n, len(parts))], "/"), parts[min(n, len(parts)):]
	if len(rest) > 2 && rest[0] == "namespaces" {
		namespace, rest = rest[1], rest[2:]
	}
	if len(rest) > 0 {
		resource = group + "/" + rest[0]
	}
	if len(rest) > 1 {
		name = rest[1]
	}
	return resource, namespace, name
}

func fail(w http.ResponseWriter, err error) {
	status, ok := err.(apierrors.APIStatus)
	if !ok {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	write(w, int(s.Code), s)
}

func write(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object) // a caller that is gone will not miss it
}

// BulkAs makes API an apiclient.Server; it takes no bulks.
func (a *API) BulkAs(context.Context, string, *message.BulkRequest) (*message.BulkResponse, error) {
	return nil, apierrors.NewMethodNotSupported(schema.GroupResource{}, "bulk")
}

// AcquireFenceAs makes API an apiclient.Server; it knows no fences.
func (a *API) AcquireFenceAs(context.Context, string, *message.AcquireFence) (*message.FenceState, error) {
	return nil, apierrors.NewMethodNotSupported(schema.GroupResource{}, "fence")
}
