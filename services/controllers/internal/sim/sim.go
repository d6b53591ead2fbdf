// Package sim plays a controller against a model of the API, its log and the mirrors,
// for tests whose every turn follows from a seed. Run it in a synctest bubble.
//
// A Model serves Collections. It answers writes as the API does, and does to them what
// happens to writes: answers and requests get lost, others write in between, some are
// refused, and the controller may end between any two of a request. What is written
// reaches each mirror in order, but late, twice, or only as the outcome of several
// changes. The collections' checks see each change as it is made, before anybody else.
package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/write"
)

// Odds of what may happen, each between 0 and 1.
type Odds struct {
	LostAnswer  float64 // of a request: written, and nobody is told
	LostRequest float64 // of a request
	Crash       float64 // of a request: the controller ends within it
	Touch       float64 // of a write: somebody changes the object first
	Refuse      float64 // of a pod's creation
	Late        float64 // of a request: the mirrors show it later
}

// Model is the API and its log.
type Model struct {
	Rand *rand.Rand
	Odds Odds

	mu       sync.Mutex
	revision uint64
	uids     int
	kinds    map[string]*kind // by the path of their collections, without namespace
	crash    context.CancelFunc
	ended    bool
	err      error // the first of the checks
}

type kind struct {
	resource string
	objects  map[types.NamespacedName]object
	pending  []entry // not in the mirror yet
	connect  func(w *mirror.World)
	deliver  func(e entry)
	check    func(old, new object, own bool) error
}

type object = map[string]any

type entry struct {
	revision uint64
	key      types.NamespacedName
	data     []byte // nil: deleted
}

// New returns an empty model. Names that are chosen at random follow from the seed too.
func New(seed uint64, odds Odds) *Model {
	utilrand.Seed(int64(seed))
	return &Model{Rand: rand.New(rand.NewPCG(seed, 0)), Odds: odds, kinds: map[string]*kind{}}
}

// Collection is a kind as the API has it.
type Collection[T any] struct {
	m *Model
	k *kind
}

// Serve has the model keep a kind. check sees every change, of which one or the other
// side may be nil, and whether it is the controller's own.
func Serve[T any](m *Model, pick func(w *mirror.World) *mirror.Kind[T], check func(old, new *T, own bool) error) Collection[T] {
	of := pick(mirror.NewWorld())
	k := &kind{resource: of.Resource().Resource, objects: map[types.NamespacedName]object{}}
	k.connect = func(w *mirror.World) {
		to := pick(w)
		k.deliver = func(e entry) {
			if e.data == nil {
				to.Drop(e.revision, e.key.Namespace, e.key.Name)
				return
			}
			out := new(T)
			if err := json.Unmarshal(e.data, out); err != nil {
				panic(err)
			}
			to.Put(e.revision, out)
		}
	}
	k.check = func(old, new object, own bool) error { return check(typed[T](old), typed[T](new), own) }
	m.kinds[of.Path("")] = k
	return Collection[T]{m, k}
}

// Put makes or changes an object in the name of others: users, nodes, the scheduler.
func (c Collection[T]) Put(o *T) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	raw := untyped(o)
	c.m.store(c.k, keyOf(raw), raw, false)
}

// Remove takes an object out of the API.
func (c Collection[T]) Remove(o *T) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.m.drop(c.k, keyOf(untyped(o)), false)
}

// List gives the objects as they are in the API, by name.
func (c Collection[T]) List() []*T {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	out := make([]*T, 0, len(c.k.objects))
	for _, key := range c.k.keys() {
		out = append(out, typed[T](c.k.objects[key]))
	}
	return out
}

func (k *kind) keys() []types.NamespacedName {
	out := make([]types.NamespacedName, 0, len(k.objects))
	for key := range k.objects {
		out = append(out, key)
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Term is one of the controller's lives.
type Term struct {
	World *mirror.World

	ctx       context.Context
	reconcile queue.Reconciler[types.NamespacedName]
	late      *mirror.Behind
}

// Begin starts a term: its mirrors hold all there is.
func (m *Model) Begin(ctx context.Context, start func(e *frame.Env) queue.Reconciler[types.NamespacedName]) *Term {
	t := &Term{World: mirror.NewWorld()}
	m.mu.Lock()
	t.ctx, m.crash = context.WithCancel(ctx)
	m.ended = false
	for _, path := range m.paths() {
		k := m.kinds[path]
		k.connect(t.World)
		k.pending = nil
		for _, key := range k.keys() {
			data, _ := json.Marshal(k.objects[key])
			k.pending = append(k.pending, entry{revisionOf(k.objects[key]), key, data})
		}
		slices.SortFunc(k.pending, func(a, b entry) int { return int(a.revision) - int(b.revision) })
		m.flush(k, len(k.pending))
	}
	m.mu.Unlock()
	t.reconcile = start(frame.NewEnv("sim", "sim", t.World, write.New(m, nil), &frame.Settings{}, zap.NewNop()))
	return t
}

// Reconcile looks at a key as the frame does: not before the mirrors show what was
// written the last time.
func (t *Term) Reconcile(key types.NamespacedName) error {
	if t.late != nil && !t.late.Caught() {
		return t.late
	}
	t.late = nil
	_, err := t.reconcile(t.ctx, key)
	errors.As(err, &t.late)
	return err
}

// Crashed tells whether the term has ended.
func (m *Model) Crashed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended
}

// End ends the term between two requests.
func (m *Model) End() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end()
}

func (m *Model) end() {
	m.ended = true
	m.crash()
}

// Err is the first error of a check.
func (m *Model) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// Deliver brings some of what is pending to the mirrors, or with all everything.
func (m *Model) Deliver(all bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, path := range m.paths() {
		k := m.kinds[path]
		n := len(k.pending)
		if !all {
			n = m.Rand.IntN(n + 1)
		}
		m.flush(k, n)
	}
}

func (m *Model) paths() []string {
	out := make([]string, 0, len(m.kinds))
	for path := range m.kinds {
		out = append(out, path)
	}
	slices.Sort(out)
	return out
}

// flush delivers the first n entries, sometimes only what they come to, sometimes twice.
func (m *Model) flush(k *kind, n int) {
	due := k.pending[:n]
	k.pending = slices.Clone(k.pending[n:])
	summary := m.Rand.IntN(4) == 0
	for i, e := range due {
		later := func(other entry) bool { return other.key == e.key }
		if summary && slices.ContainsFunc(due[i+1:], later) {
			continue
		}
		for range 1 + m.Rand.IntN(2) {
			k.deliver(e)
		}
	}
}

// Do implements write.API for reads: of an object, or a list of the one of a name.
func (m *Model) Do(_ context.Context, r apiclient.Request) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return nil, errGone
	}
	path, query, list := strings.Cut(r.Path, "?")
	k, key, _ := m.find(path)
	if list {
		selector, err := url.ParseQuery(query)
		if err != nil {
			return nil, err
		}
		var named bool
		if key.Name, named = strings.CutPrefix(selector.Get("fieldSelector"), "metadata.name="); !named {
			panic("sim: nobody serves " + r.Path)
		}
		items := []any{}
		if object := k.objects[key]; object != nil {
			items = append(items, object)
		}
		return json.Marshal(map[string]any{"items": items})
	}
	if k.objects[key] == nil {
		return nil, k.notFound(key)
	}
	return json.Marshal(k.objects[key])
}

var errGone = errors.New("no answer")

// Bulk implements write.API.
func (m *Model) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended || m.chance(m.Odds.LostRequest) {
		return nil, errGone
	}
	last := len(requests)
	crash := m.chance(m.Odds.Crash)
	if crash {
		last = m.Rand.IntN(last + 1)
	}
	order := make([]int, len(requests)) // what mirrors list comes in any order
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(requests[a].Path, requests[b].Path) })
	results := make([]apiclient.Result, len(requests))
	for _, i := range order[:last] {
		results[i] = m.write(requests[i])
	}
	if crash {
		m.end()
		return nil, errGone
	}
	m.spread()
	if m.chance(m.Odds.LostAnswer) {
		return nil, errGone
	}
	return results, nil
}

// spread brings the writes to the mirrors: now, or when time has passed, or when
// somebody delivers.
func (m *Model) spread() {
	late := m.chance(m.Odds.Late)
	for _, path := range m.paths() {
		k := m.kinds[path]
		switch n := len(k.pending); {
		case !late:
			m.flush(k, n)
		case m.Rand.IntN(4) > 0:
			time.AfterFunc(time.Duration(m.Rand.Int64N(int64(mirror.Patience))), func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.flush(k, min(n, len(k.pending)))
			})
		}
	}
}

func (m *Model) chance(odds float64) bool { return odds > 0 && m.Rand.Float64() < odds }

func (m *Model) find(path string) (k *kind, key types.NamespacedName, sub string) {
	for prefix, each := range m.kinds {
		base, resource := prefix[:strings.LastIndexByte(prefix, '/')], prefix[strings.LastIndexByte(prefix, '/')+1:]
		rest, ok := strings.CutPrefix(path, base+"/")
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		if parts[0] == "namespaces" && len(parts) > 2 {
			key.Namespace, parts = parts[1], parts[2:]
		}
		if parts[0] != resource {
			key = types.NamespacedName{}
			continue
		}
		if len(parts) > 1 {
			key.Name = parts[1]
		}
		if len(parts) > 2 {
			sub = parts[2]
		}
		return each, key, sub
	}
	panic("sim: nobody serves " + path)
}

func (m *Model) write(r apiclient.Request) apiclient.Result {
	k, key, sub := m.find(r.Path)
	var body object
	if len(r.Body) > 0 {
		if err := json.Unmarshal(r.Body, &body); err != nil {
			panic(err)
		}
	}
	if r.Method == "POST" {
		key.Name = meta(body)["name"].(string)
	}
	if m.chance(m.Odds.Touch) && k.objects[key] != nil {
		o := clone(k.objects[key])
		annotations, _ := meta(o)["annotations"].(object)
		annotations = clone(annotations)
		annotations["touched"] = fmt.Sprint(m.revision)
		meta(o)["annotations"] = annotations
		m.store(k, key, o, false)
	}
	written, err := m.writeOne(k, key, sub, r, body)
	if err != nil {
		var status apierrors.APIStatus
		errors.As(err, &status)
		return apiclient.Result{Code: int(status.Status().Code), Err: err}
	}
	data, _ := json.Marshal(written)
	return apiclient.Result{Code: 200, Body: data}
}

func (m *Model) writeOne(k *kind, key types.NamespacedName, sub string, r apiclient.Request, body object) (object, error) {
	present := k.objects[key]
	switch {
	case r.Method == "POST" && present != nil:
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: k.resource}, key.Name)
	case r.Method == "POST" && k.resource == "pods" && m.chance(m.Odds.Refuse):
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: k.resource}, key.Name, errors.New("exceeded quota"))
	case r.Method == "POST":
		return m.store(k, key, body, true), nil
	case present == nil:
		return nil, k.notFound(key)
	case r.Method == "DELETE":
		return m.remove(k, key, present, body)
	case r.Method == "PATCH":
		return m.patch(k, key, present, r, body)
	}
	if v, _ := meta(body)["resourceVersion"].(string); v != "" && v != meta(present)["resourceVersion"] {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: k.resource}, key.Name, errors.New("changed"))
	}
	next := clone(present)
	if sub == "status" {
		next["status"] = body["status"]
		if annotations := meta(body)["annotations"]; annotations != nil { // as the API has it
			meta(next)["annotations"] = annotations
		}
	} else {
		next = clone(body)
		if present["status"] != nil {
			next["status"] = present["status"]
		}
	}
	return m.store(k, key, next, true), nil
}

// remove is immediate but for pods that a node runs: those are the node's to remove.
func (m *Model) remove(k *kind, key types.NamespacedName, present, body object) (object, error) {
	if preconditions, ok := body["preconditions"].(object); ok && preconditions["uid"] != nil && preconditions["uid"] != meta(present)["uid"] {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: k.resource}, key.Name, errors.New("another UID"))
	}
	if p := typed[corev1.Pod](present); k.resource == "pods" && p.Spec.NodeName != "" && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded {
		next := clone(present)
		meta(next)["deletionTimestamp"] = metav1.NewTime(time.Now()).UTC().Format(time.RFC3339)
		return m.store(k, key, next, true), nil
	}
	m.drop(k, key, true)
	return present, nil
}

func (m *Model) patch(k *kind, key types.NamespacedName, present object, r apiclient.Request, body object) (object, error) {
	if uid := meta(body)["uid"]; uid != nil && uid != meta(present)["uid"] {
		return nil, apierrors.NewInvalid(schema.GroupKind{Kind: k.resource}, key.Name, nil)
	}
	next := clone(present)
	if strings.Contains(r.ContentType, "strategic") {
		patchOwners(meta(next), meta(body))
	} else {
		next = merge(next, body).(object)
	}
	return m.store(k, key, next, true), nil
}

// patchOwners is the strategic merge of owner references, which is all that is sent so.
func patchOwners(to, patch object) {
	refs, _ := to["ownerReferences"].([]any)
	refs = slices.Clone(refs)
	for _, each := range patch["ownerReferences"].([]any) {
		ref := each.(object)
		refs = slices.DeleteFunc(refs, func(other any) bool { return other.(object)["uid"] == ref["uid"] })
		if ref["$patch"] != "delete" {
			refs = append(refs, ref)
		}
	}
	to["ownerReferences"] = refs
}

func merge(to, patch any) any {
	changes, ok := patch.(object)
	if !ok {
		return patch
	}
	out, _ := to.(object)
	out = clone(out)
	for field, value := range changes {
		if value == nil {
			delete(out, field)
			continue
		}
		out[field] = merge(out[field], value)
	}
	return out
}

// store writes an object as the API completes it.
func (m *Model) store(k *kind, key types.NamespacedName, o object, own bool) object {
	old := k.objects[key]
	o = clone(o)
	m.revision++
	om := clone(meta(o))
	o["metadata"] = om
	om["resourceVersion"] = fmt.Sprint(m.revision)
	if old == nil {
		m.uids++
		om["uid"] = fmt.Sprintf("uid-%d", m.uids)
		om["creationTimestamp"] = metav1.NewTime(time.Now()).UTC().Format(time.RFC3339)
		om["generation"] = 1.0
		if status, _ := o["status"].(object); k.resource == "pods" && status["phase"] == nil {
			o["status"] = object{"phase": "Pending"}
		}
	} else if before, after := fmt.Sprint(old["spec"]), fmt.Sprint(o["spec"]); before != after {
		generation, _ := meta(old)["generation"].(float64)
		om["generation"] = generation + 1
	}
	m.append(k, key, old, o, own)
	return o
}

func (m *Model) drop(k *kind, key types.NamespacedName, own bool) {
	if old := k.objects[key]; old != nil {
		m.revision++
		m.append(k, key, old, nil, own)
	}
}

func (m *Model) append(k *kind, key types.NamespacedName, old, new object, own bool) {
	e := entry{revision: m.revision, key: key}
	if new == nil {
		delete(k.objects, key)
	} else {
		e.data, _ = json.Marshal(new)
		k.objects[key] = new
	}
	k.pending = append(k.pending, e)
	if err := k.check(old, new, own); err != nil && m.err == nil {
		m.err = fmt.Errorf("at revision %d, %s %s: %w", m.revision, k.resource, key, err)
	}
}

func (k *kind) notFound(key types.NamespacedName) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: k.resource}, key.Name)
}

func meta(o object) object {
	out, _ := o["metadata"].(object)
	return out
}

func revisionOf(o object) (revision uint64) {
	fmt.Sscan(meta(o)["resourceVersion"].(string), &revision)
	return revision
}

func keyOf(o object) types.NamespacedName {
	namespace, _ := meta(o)["namespace"].(string)
	return types.NamespacedName{Namespace: namespace, Name: meta(o)["name"].(string)}
}

// clone copies an object and its metadata.
func clone(o object) object {
	out := make(object, len(o))
	for field, value := range o {
		out[field] = value
	}
	if m, ok := out["metadata"].(object); ok {
		copied := make(object, len(m))
		for field, value := range m {
			copied[field] = value
		}
		out["metadata"] = copied
	}
	return out
}

func typed[T any](o object) *T {
	if o == nil {
		return nil
	}
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	out := new(T)
	if err := json.Unmarshal(data, out); err != nil {
		panic(err)
	}
	return out
}

func untyped(from any) object {
	data, err := json.Marshal(from)
	if err != nil {
		panic(err)
	}
	var out object
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}
