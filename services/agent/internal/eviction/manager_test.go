package eviction

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// house is a node of 1000 bytes of memory and of disk, and its pods, each of which takes of both.
type house struct {
	takes   map[string]int64
	pods    []*corev1.Pod
	images  int64 // bytes of disk that unused images take
	stuck   bool  // what evicted pods had does not get free
	evicted []string
	told    [][]corev1.NodeConditionType
	events  []string
	at      []time.Duration // of evictions
	began   time.Time
}

func (h *house) look() Observations {
	free := int64(1000)
	for _, p := range h.pods {
		free -= h.takes[p.Name]
	}
	return Observations{MemoryAvailable: {1000, free}, NodeFsAvailable: {1000, free - h.images}}
}

func (h *house) Active() []*corev1.Pod { return slices.Clone(h.pods) }

func (h *house) Evict(uid types.UID, _ string, _ time.Duration) <-chan struct{} {
	h.evicted, h.at = append(h.evicted, string(uid)), append(h.at, time.Since(h.began))
	free := make(chan struct{})
	if !h.stuck {
		h.pods = slices.DeleteFunc(h.pods, func(p *corev1.Pod) bool { return p.UID == uid })
		close(free)
	}
	return free
}

func (h *house) Node(_, reason, message string) { h.events = append(h.events, reason+": "+message) }

func (h *house) manager(t *testing.T, hard map[string]string) *Manager {
	t.Helper()
	thresholds, err := Settings{Hard: hard}.Thresholds()
	if err != nil {
		t.Fatal(err)
	}
	h.began = time.Now()
	return &Manager{
		Thresholds: thresholds, Transition: 5 * time.Minute, Look: h.look, Pods: h, Events: h, Log: zap.NewNop(),
		Tell: func(c []corev1.NodeConditionType) { h.told = append(h.told, c) },
		FreeImages: func(context.Context) error {
			h.images = 0
			return errors.New("one image is held")
		},
		Usage: func(_ context.Context, pods []*corev1.Pod, _ bool) map[types.UID]*Usage {
			out := map[types.UID]*Usage{}
			for _, p := range pods {
				out[p.UID] = &Usage{Pod: Use{corev1.ResourceMemory: h.takes[p.Name], corev1.ResourceEphemeralStorage: h.takes[p.Name]}}
			}
			return out
		},
	}
}

func live(t *testing.T, m *Manager, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := m.Run(ctx); err != nil {
		t.Error(err)
	}
}

func named(names ...string) (out []*corev1.Pod) {
	for _, n := range names {
		p := aPod(n, 0, "")
		p.UID = types.UID(n)
		out = append(out, p)
	}
	return out
}

func TestPodsEndOneAfterTheOtherUntilThereIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{takes: map[string]int64{"a": 100, "b": 400, "c": 300, "d": 150}, pods: named("a", "b", "c", "d")}
		m := h.manager(t, map[string]string{"memory.available": "60%"})
		live(t, m, time.Minute)
		if !slices.Equal(h.evicted, []string{"b", "c"}) || h.at[1] >= every {
			t.Errorf("evicted %q at %s", h.evicted, h.at)
		}
		if len(h.told) != 1 || !slices.Equal(m.Conditions(), []corev1.NodeConditionType{corev1.NodeMemoryPressure}) {
			t.Errorf("told %v, conditions %v", h.told, m.Conditions())
		}
		live(t, m, 6*time.Minute)
		if len(m.Conditions()) != 0 || len(h.evicted) != 2 || h.events[0] != "EvictionThresholdMet: Attempting to reclaim memory" {
			t.Errorf("later: conditions %v, evicted %q, events %q", m.Conditions(), h.evicted, h.events)
		}
	})
}

func TestUnusedImagesGoBeforePods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{takes: map[string]int64{"a": 100}, pods: named("a"), images: 850}
		live(t, h.manager(t, map[string]string{"nodefs.available": "10%"}), time.Minute)
		if h.images != 0 || len(h.evicted) != 0 {
			t.Errorf("images take %d bytes, evicted %q", h.images, h.evicted)
		}
	})
}

func TestCriticalPodsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{takes: map[string]int64{"a": 900, "b": 50}, pods: named("a", "b")}
		*h.pods[0].Spec.Priority = systemCritical
		live(t, h.manager(t, map[string]string{"memory.available": "20%"}), time.Minute)
		if !slices.Equal(h.evicted, []string{"b"}) {
			t.Errorf("evicted %q", h.evicted)
		}
	})
}

func TestTheNextPodEndsWhenTheFirstHasTakenTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{takes: map[string]int64{"a": 900}, pods: named("a"), stuck: true}
		live(t, h.manager(t, map[string]string{"memory.available": "20%"}), awaitFree+time.Second)
		if !slices.Equal(h.at, []time.Duration{0, awaitFree}) {
			t.Errorf("evictions at %s", h.at)
		}
	})
}
