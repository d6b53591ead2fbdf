package report

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/tell"
)

// Bulk sends writes together (apiclient.Client).
type Bulk interface {
	Bulk(ctx context.Context, o apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error)
}

// Limits of Events, in the spirit of client-go's correlator: a source may say
// much at once, but not for ever.
const (
	burst       = 25
	refill      = 5 * time.Minute // one more Event of the object each
	remembered  = 1024            // Events whose repetition is counted
	maxPending  = 1000
	linger      = 50 * time.Millisecond // what happens together goes together
	repeatAfter = 5 * time.Second       // counts of a repeated Event are written no more often
)

// Events writes Kubernetes Events about the node and its pods. The same Event
// again raises the count of the first. They are worth little when late: while
// the API is away, old ones are dropped.
type Events struct {
	node string
	api  Bulk
	log  *zap.Logger
	now  func() time.Time
	wake chan struct{}

	mu      sync.Mutex
	pending []*event
	known   map[eventKey]*event
	budget  map[types.UID]*budget
	stamp   int64 // of the last Event's name; names never repeat
}

type eventKey struct {
	uid                         types.UID
	path, kind, reason, message string
}

type event struct {
	key     eventKey
	event   corev1.Event
	created bool // the API has it
	queued  bool
	written time.Time
}

type budget struct {
	tokens float64
	filled time.Time
}

// NewEvents has said nothing; Run sends.
func NewEvents(node string, api Bulk, log *zap.Logger) *Events {
	return &Events{
		node: node, api: api, log: log, now: time.Now, wake: make(chan struct{}, 1),
		known: map[eventKey]*event{}, budget: map[types.UID]*budget{},
	}
}

// Pod says something about a pod, or about one of its containers when fieldPath
// is set. eventType is Normal or Warning.
func (e *Events) Pod(pod *corev1.Pod, fieldPath, eventType, reason, message string) {
	e.record(corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath,
	}, eventType, reason, message)
}

// Node says something about the node.
func (e *Events) Node(eventType, reason, message string) {
	e.record(corev1.ObjectReference{Kind: "Node", Name: e.node, UID: types.UID(e.node)}, eventType, reason, message)
}

func (e *Events) record(ref corev1.ObjectReference, eventType, reason, message string) {
	message = tell.Cut(message) // what is remembered is no longer either
	now := e.now()
	key := eventKey{ref.UID, ref.FieldPath, eventType, reason, message}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.allowed(ref.UID, now) {
		return
	}
	ev := e.known[key]
	if ev == nil {
		e.stamp = max(e.stamp+1, now.UnixNano())
		if len(e.known) >= remembered {
			e.forgetOldest()
		}
		ev = &event{key: key, event: tell.Event(tell.Source{Component: "kubelet", Host: e.node}, &ref, fmt.Sprintf("%x", e.stamp), eventType, reason, message, now)}
		ev.event.Count = 0 // it is counted below
		e.known[key] = ev
	}
	ev.event.Count++
	ev.event.LastTimestamp = metav1.NewTime(now)
	if !ev.queued && len(e.pending) < maxPending {
		ev.queued = true
		e.pending = append(e.pending, ev)
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

func (e *Events) allowed(uid types.UID, now time.Time) bool {
	b := e.budget[uid]
	if b == nil {
		if len(e.budget) > remembered {
			clear(e.budget)
		}
		b = &budget{burst, now}
		e.budget[uid] = b
	}
	b.tokens = min(burst, b.tokens+float64(now.Sub(b.filled))/float64(refill))
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (e *Events) forgetOldest() {
	var oldest *event
	for _, ev := range e.known {
		if !ev.queued && (oldest == nil || ev.event.LastTimestamp.Time.Before(oldest.event.LastTimestamp.Time)) {
			oldest = ev
		}
	}
	if oldest != nil {
		delete(e.known, oldest.key)
	}
}

// Run sends until ctx ends.
func (e *Events) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(linger):
		}
		if next := e.send(ctx); next > 0 {
			timer.Reset(next)
		}
	}
}

// send writes what is pending and tells when to look again, 0 for not.
func (e *Events) send(ctx context.Context) time.Duration {
	now := e.now()
	e.mu.Lock()
	var batch []*event
	var later []*event
	var requests []apiclient.Request
	for _, ev := range e.pending {
		if ev.created && now.Sub(ev.written) < repeatAfter {
			later = append(later, ev)
			continue
		}
		r, err := ev.request()
		if err != nil {
			ev.queued = false
			continue
		}
		ev.queued = false
		batch, requests = append(batch, ev), append(requests, r)
	}
	e.pending = later
	e.mu.Unlock()
	wait := time.Duration(0)
	if len(later) > 0 {
		wait = repeatAfter
	}
	if len(batch) == 0 {
		return wait
	}
	results, err := e.api.Bulk(ctx, apiclient.BulkOptions{}, requests)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			e.log.Warn("Events not written, trying again", zap.Int("count", len(batch)), zap.Error(err))
		}
		for _, ev := range batch {
			if !ev.queued && len(e.pending) < maxPending {
				ev.queued = true
				e.pending = append(e.pending, ev)
			}
		}
		return 2 * time.Second
	}
	for i, ev := range batch {
		ev.written = now
		switch err := results[i].Err; {
		case err == nil, apierrors.IsAlreadyExists(err):
			ev.created = true
		case apierrors.IsNotFound(err) && ev.created:
			ev.created = false // it aged out; the next one is a new Event
			delete(e.known, ev.key)
		default:
			e.log.Debug("Event refused", zap.String("reason", ev.event.Reason), zap.Error(err))
			delete(e.known, ev.key)
		}
	}
	return wait
}

func (ev *event) request() (apiclient.Request, error) {
	path := "/api/v1/namespaces/" + ev.event.Namespace + "/events"
	if !ev.created {
		body, err := json.Marshal(&ev.event)
		return apiclient.Request{Method: http.MethodPost, Path: path, Body: body}, err
	}
	body, err := json.Marshal(map[string]any{"count": ev.event.Count, "lastTimestamp": ev.event.LastTimestamp})
	return apiclient.Request{Method: http.MethodPatch, Path: path + "/" + ev.event.Name, Body: body, ContentType: apiclient.StrategicMergePatch}, err
}
