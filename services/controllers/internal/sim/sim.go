// Package sim plays controllers against a model of the API and its log, for tests whose
// every turn follows from a seed. Run it in a synctest bubble. A Model plays one
// controller, reconcile by reconcile; a Cluster whole processes of the service.
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
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	Gone        float64 // of a version that has a newer one: a process that lags never sees it
}

// Model is the API and its log.
type Model struct {
	Rand *rand.Rand
	Odds Odds
	store

	mu    sync.Mutex
	crash context.CancelFunc
	ended bool
	err   error // the first of the checks
}

type entry struct {
	revision uint64
	key      types.NamespacedName
	data     []byte // nil: deleted
}

// New returns an empty model. Names that are chosen at random follow from the seed too.
func New(seed uint64, odds Odds) *Model {
	utilrand.Seed(int64(seed))
	m := &Model{Rand: rand.New(rand.NewPCG(seed, 0)), Odds: odds}
	m.changed = m.append
	return m
}

// Collection is a kind as the API has it.
type Collection[T any] struct {
	s  *store
	mu *sync.Mutex // nil: one goroutine at a time uses it
	k  *kind
}

// lock is held while the store is used.
func (c Collection[T]) lock() (unlock func()) {
	if c.mu == nil {
		return func() {}
	}
	c.mu.Lock()
	return c.mu.Unlock
}

// Serve has the model keep a kind. check sees every change, of which one or the other
// side may be nil, and whether it is the controller's own.
func Serve[T any](m *Model, pick func(w *mirror.World) *mirror.Kind[T], check func(old, new *T, own bool) error) Collection[T] {
	k := keepMirrored(&m.store, pick(mirror.NewWorld()))
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
	return Collection[T]{&m.store, &m.mu, k}
}

// Path is where the API has the collection, without namespace.
func (c Collection[T]) Path() string { return c.k.path }

// Put makes or changes an object in the name of others: users, nodes, the scheduler.
func (c Collection[T]) Put(o *T) {
	defer c.lock()()
	raw := untyped(o)
	c.s.put(c.k, keyOf(raw), raw, others)
}

// Remove takes an object out of the API.
func (c Collection[T]) Remove(o *T) {
	defer c.lock()()
	c.s.drop(c.k, keyOf(untyped(o)), others)
}

// Get gives an object as it is in the API, or nil.
func (c Collection[T]) Get(namespace, name string) *T {
	defer c.lock()()
	return typed[T](c.k.objects[types.NamespacedName{Namespace: namespace, Name: name}])
}

// List gives the objects as they are in the API, by name.
func (c Collection[T]) List() []*T {
	defer c.lock()()
	out := make([]*T, 0, len(c.k.objects))
	for _, key := range c.k.keys() {
		out = append(out, typed[T](c.k.objects[key]))
	}
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
	for _, k := range m.kinds {
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
	for _, k := range m.kinds {
		n := len(k.pending)
		if !all {
			n = m.Rand.IntN(n + 1)
		}
		m.flush(k, n)
	}
}

// Show brings all of one kind that is pending to its mirror.
func (m *Model) Show(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.kinds {
		if k.path == path {
			m.flush(k, len(k.pending))
		}
	}
}

// flush delivers the first n entries, sometimes only what they come to, sometimes twice.
// What they come to has the last one's revision only when all of it is there, as a
// mirror's snapshot.
func (m *Model) flush(k *kind, n int) {
	due := k.pending[:n]
	k.pending = slices.Clone(k.pending[n:])
	summary := m.Rand.IntN(4) == 0
	for i, e := range due {
		later := func(other entry) bool { return other.key == e.key }
		if summary && slices.ContainsFunc(due[i+1:], later) {
			continue
		}
		if summary && i < len(due)-1 {
			e.revision = 0
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
	found, err := m.get(r.RequestURI())
	if err != nil {
		return nil, err
	}
	return json.Marshal(found)
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
		results[i] = m.one(requests[i])
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
	for _, k := range m.kinds {
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

// one is a write of the controller's, to which something may happen on its way.
func (m *Model) one(r apiclient.Request) apiclient.Result {
	p, ok := m.find(r.Path)
	if !ok {
		panic("sim: nobody serves " + r.Path)
	}
	if m.chance(m.Odds.Touch) && p.objects[p.key] != nil {
		o := clone(p.objects[p.key])
		annotations := maps.Clone(field(meta(o), "annotations"))
		if annotations == nil {
			annotations = object{}
		}
		annotations["touched"] = fmt.Sprint(m.revision)
		meta(o)["annotations"] = annotations
		m.put(p.kind, p.key, o, others)
	}
	if r.Method == http.MethodPost && p.resource == "pods" && m.chance(m.Odds.Refuse) {
		return resultOf(nil, apierrors.NewForbidden(p.groupResource(), "", errors.New("exceeded quota")))
	}
	return resultOf(m.write(r, own))
}

// own is who writes as the controller of a Model.
const own = "sim"

func resultOf(written object, err error) apiclient.Result {
	if err != nil {
		var status apierrors.APIStatus
		errors.As(err, &status)
		return apiclient.Result{Code: int(status.Status().Code), Err: err}
	}
	data, _ := json.Marshal(written)
	return apiclient.Result{Code: http.StatusOK, Body: data}
}

func (m *Model) append(k *kind, key types.NamespacedName, old, new object, by string) {
	e := entry{revision: m.revision, key: key}
	if new != nil {
		e.data, _ = json.Marshal(new)
	}
	k.pending = append(k.pending, e)
	if err := k.check(old, new, by == own); err != nil && m.err == nil {
		m.err = fmt.Errorf("at revision %d, %s %s: %w", m.revision, k.resource, key, err)
	}
}
