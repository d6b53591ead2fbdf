package event

import (
	"container/list"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limits of upstream's event correlator (client-go tools/record).
const (
	similarLimit  = 10               // distinct messages of one reason before they are combined
	similarWindow = 10 * time.Minute // after which a reason starts afresh
	spamBurst     = 25               // events about one object at once
	spamRefill    = 5 * time.Minute  // until it may have one more
	memory        = 4096             // objects and reasons remembered
)

// correlator decides what becomes of an event: a new object, a higher count on one
// written before, or nothing because its object has had its share. It is pure
// but for its memory.
type correlator struct {
	similar  *recent[similar]
	observed *recent[observed]
	budgets  *recent[budget]
}

type similar struct {
	messages map[string]bool
	last     time.Time
}

type observed struct {
	name  string
	count int32
	first metav1.Time
}

type budget struct {
	tokens float64
	at     time.Time
}

func newCorrelator() *correlator {
	return &correlator{newRecent[similar](), newRecent[observed](), newRecent[budget]()}
}

// correlate returns the event to write; repeat says that it is a new count for an
// event of that name; ok is false when it is to be dropped.
func (c *correlator) correlate(event corev1.Event, now time.Time) (result corev1.Event, repeat, ok bool) {
	group := strings.Join([]string{event.Source.Component, objectKey(&event), event.Type, event.Reason}, "\x00")
	key := group + "\x00" + event.Message

	seen, _ := c.similar.get(group)
	if seen.messages == nil || now.Sub(seen.last) > similarWindow {
		seen = similar{messages: map[string]bool{}}
	}
	if len(seen.messages) < similarLimit {
		seen.messages[event.Message] = true
	}
	seen.last = now
	c.similar.put(group, seen)
	if len(seen.messages) >= similarLimit {
		event.Message = "(combined from similar events): " + event.Message
		key = group
	}

	if before, found := c.observed.get(key); found {
		before.count++
		c.observed.put(key, before)
		event.Name, event.Count, event.FirstTimestamp, repeat = before.name, before.count, before.first, true
	} else {
		c.observed.put(key, observed{event.Name, 1, event.FirstTimestamp})
	}

	source := strings.Join([]string{event.Source.Component, objectKey(&event), event.Type}, "\x00")
	allowance, found := c.budgets.get(source)
	if !found {
		allowance = budget{spamBurst, now}
	}
	allowance.tokens = min(spamBurst, allowance.tokens+float64(now.Sub(allowance.at))/float64(spamRefill))
	allowance.at = now
	ok = allowance.tokens >= 1
	if ok {
		allowance.tokens--
	}
	c.budgets.put(source, allowance)
	return event, repeat, ok
}

func objectKey(event *corev1.Event) string {
	o := &event.InvolvedObject
	return fmt.Sprint(o.Kind, "\x00", o.Namespace, "\x00", o.Name, "\x00", o.UID, "\x00", o.APIVersion)
}

// recent is a map that forgets what was used longest ago.
type recent[V any] struct {
	entries map[string]*list.Element
	order   *list.List
}

type recentEntry[V any] struct {
	key   string
	value V
}

func newRecent[V any]() *recent[V] {
	return &recent[V]{map[string]*list.Element{}, list.New()}
}

func (r *recent[V]) get(key string) (value V, found bool) {
	element := r.entries[key]
	if element == nil {
		return value, false
	}
	r.order.MoveToFront(element)
	return element.Value.(*recentEntry[V]).value, true
}

func (r *recent[V]) put(key string, value V) {
	if element := r.entries[key]; element != nil {
		element.Value.(*recentEntry[V]).value = value
		r.order.MoveToFront(element)
		return
	}
	r.entries[key] = r.order.PushFront(&recentEntry[V]{key, value})
	if r.order.Len() > memory {
		oldest := r.order.Back()
		r.order.Remove(oldest)
		delete(r.entries, oldest.Value.(*recentEntry[V]).key)
	}
}
