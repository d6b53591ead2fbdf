package endpoint

import (
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/pod"
)

// triggers remembers which changes of a service and its pods have been published,
// for the annotation endpoints.kubernetes.io/last-change-trigger-time.
type triggers struct {
	mu    sync.Mutex
	known map[types.NamespacedName]trigger
}

type trigger struct {
	service time.Time
	pods    map[string]time.Time
}

func newTriggers() *triggers { return &triggers{known: map[types.NamespacedName]trigger{}} }

// latest is the time of the oldest change not yet published; zero when there is none.
func (t *triggers) latest(service *corev1.Service, pods []*corev1.Pod) time.Time {
	key := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}
	next := trigger{service: service.CreationTimestamp.Time, pods: map[string]time.Time{}}
	for _, p := range pods {
		if since, _ := pod.ReadySince(p); !since.IsZero() {
			next.pods[p.Name] = since
		}
	}
	t.mu.Lock()
	before, known := t.known[key]
	t.known[key] = next
	t.mu.Unlock()
	if !known {
		return service.CreationTimestamp.Time
	}
	var oldest time.Time
	consider := func(now, then time.Time) {
		if now.After(then) && (oldest.IsZero() || now.Before(oldest)) {
			oldest = now
		}
	}
	for name, since := range next.pods {
		consider(since, before.pods[name])
	}
	consider(next.service, before.service)
	return oldest
}

func (t *triggers) forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, key)
}

func annotateTrigger(annotations map[string]string, at time.Time) map[string]string {
	if at.IsZero() {
		delete(annotations, corev1.EndpointsLastChangeTriggerTime)
		return annotations
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[corev1.EndpointsLastChangeTriggerTime] = at.UTC().Format(time.RFC3339Nano)
	return annotations
}
