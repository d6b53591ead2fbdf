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
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// house is a node of 1000 bytes of memory and of disk, and its pods, each of which takes of both.
type house struct {
	takes   map[string]int64
	pods    []*corev1.Pod
	images  int64            // bytes of disk that unused images take
	stuck   bool             // what evicted pods had does not get free
	volume  map[string]int64 // bytes of each pod's volume "v"
	why     []Cause
	asked   []time.Duration // when the disk was measured
	slow    time.Duration   // what that takes
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
	return Observations{MemoryAvailable: {1000, free}, NodeFsAvailable: {1000, free - h.images}, PIDAvailable: {1000, free}}
}

func (h *house) Active() []*corev1.Pod { return slices.Clone(h.pods) }

func (h *house) Evict(uid types.UID, why Cause) <-chan struct{} {
	h.why = append(h.why, why)
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
		Usage: func(_ context.Context, pods []*corev1.Pod, of corev1.ResourceName) map[types.UID]*Usage {
			if of == corev1.ResourceEphemeralStorage {
				h.asked = append(h.asked, time.Since(h.began))
				time.Sleep(h.slow)
			}
			out := map[types.UID]*Usage{}
			for _, p := range pods {
				out[p.UID] = &Usage{Pod: Use{corev1.ResourceMemory: h.takes[p.Name], corev1.ResourceEphemeralStorage: h.takes[p.Name], PIDs: h.takes[p.Name]},
					Volumes: map[string]int64{"v": h.volume[p.Name]}}
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

func TestPodsAboveTheirOwnLimitsEndTogetherWhateverTheNodeHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{takes: map[string]int64{}, pods: named("a", "b", "c", "d", "e"), volume: map[string]int64{"a": 101, "b": 100, "c": 500, "d": 500, "e": 500}}
		for _, p := range h.pods[:4] {
			limit := resource.MustParse("100")
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		}
		*h.pods[3].Spec.Priority = systemCritical
		live(t, h.manager(t, map[string]string{"memory.available": "10%"}), time.Second)
		want := Cause{`Usage of EmptyDir volume "v" exceeds the limit "100". `, time.Second, true}
		if !slices.Equal(h.evicted, []string{"a", "c"}) || !slices.Equal(h.why, []Cause{want, want}) {
			t.Errorf("evicted %q for %+v", h.evicted, h.why)
		}
	})
}

func TestMeasuringTheDiskTakesATwentiethOfTheTimeAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{takes: map[string]int64{}, pods: named("a"), slow: 3 * time.Second}
		h.pods[0].Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("100")}
		live(t, h.manager(t, map[string]string{"memory.available": "10%"}), 5*time.Minute)
		if n := len(h.asked); n < 4 || n > 5 {
			t.Errorf("measured at %s", h.asked)
		}
		h.pods[0].Spec.Containers[0].Resources.Limits = nil
		h.asked = nil
		live(t, h.manager(t, map[string]string{"memory.available": "10%"}), 5*time.Minute)
		if len(h.asked) != 0 {
			t.Errorf("a pod without limits is measured at %s", h.asked)
		}
	})
}

func TestForWantOfProcessIDsTheLessImportantEndFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{takes: map[string]int64{"a": 500, "b": 100, "c": 350}, pods: named("a", "b", "c")}
		*h.pods[0].Spec.Priority = 7
		live(t, h.manager(t, map[string]string{"pid.available": "30%"}), time.Second)
		if !slices.Equal(h.evicted, []string{"c"}) || h.why[0].Own ||
			h.why[0].Message != "The node was low on resource: pids. Threshold quantity: 300, available: 50. " || h.events[0] != "EvictionThresholdMet: Attempting to reclaim pids" {
			t.Errorf("evicted %q for %+v, events %q", h.evicted, h.why, h.events)
		}
	})
}
