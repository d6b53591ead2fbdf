package frame

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

func env() *Env {
	return NewEnv("test", "test", mirror.NewWorld(), write.New(nil, nil), &Settings{}, zap.NewNop())
}

func newPod(name, owner string, ls map[string]string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: ls}}
	if owner != "" {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: owner, UID: types.UID(owner), Controller: &yes}}
	}
	return p
}

func TestAKeyIsNotDecidedOnBeforeItsOwnWriteIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		e := env()
		looks := 0
		q := Keyed(e, func(ctx context.Context, key string) (time.Duration, error) {
			if looks++; looks == 1 {
				return 0, e.World.Pods.WaitRevision(ctx, 7) // written, and late
			}
			return 0, nil
		}, Reads[string](e.World.Pods))
		go q.Run(ctx, 1)
		q.Add("a")
		time.Sleep(mirror.Patience + time.Minute)
		if looks != 1 {
			t.Fatalf("decided %d times without seeing its own write", looks)
		}
		e.World.Pods.Put(7, newPod("a", "", nil))
		time.Sleep(2 * time.Minute)
		if looks != 2 {
			t.Errorf("decided %d times after it was seen, want 2", looks)
		}
	})
}

func TestOwnersHearOfTheirChildrenAndOfOrphansTheyMayWant(t *testing.T) {
	t.Parallel()
	web := map[string]string{"app": "web"}
	for name, tt := range map[string]struct {
		old, new *corev1.Pod
		wakes    []string
	}{
		"a new child":                    {nil, newPod("a", "one", web), []string{"one"}},
		"a child that is gone":           {newPod("a", "one", web), nil, []string{"one"}},
		"a child that changes its owner": {newPod("a", "one", web), newPod("a", "two", web), []string{"one", "two"}},
		"an orphan that matches":         {nil, newPod("a", "", web), []string{"one"}},
		"an orphan of other labels":      {nil, newPod("a", "", map[string]string{"app": "db"}), nil},
		"an orphan that is as it was":    {newPod("a", "", web), newPod("a", "", web), nil},
		"a child that is let go":         {newPod("a", "two", web), newPod("a", "", web), []string{"two", "one"}},
	} {
		e := env()
		e.World.ReplicaSets.Put(1, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "one"}})
		if tt.old != nil {
			e.World.Pods.Put(2, tt.old)
		}
		var woken []string
		stop := Owned(e.World.Pods, e.World.ReplicaSets, func(*appsv1.ReplicaSet) (labels.Selector, error) {
			return labels.SelectorFromSet(web), nil
		})(func(key types.NamespacedName) { woken = append(woken, key.Name) })
		woken = nil
		if tt.new != nil {
			e.World.Pods.Put(3, tt.new)
		} else {
			e.World.Pods.Drop(3, "default", "a")
		}
		stop()
		if len(woken) != len(tt.wakes) {
			t.Errorf("%s wakes %v, want %v", name, woken, tt.wakes)
			continue
		}
		for i := range woken {
			if woken[i] != tt.wakes[i] {
				t.Errorf("%s wakes %v, want %v", name, woken, tt.wakes)
			}
		}
	}
}

func TestALaterChildWakesItsOwnerWhenItChangesOrGoes(t *testing.T) {
	t.Parallel()
	e := env()
	e.World.ReplicaSets.Put(1, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "one"}})
	woken := 0
	stop := OwnedLater(e.World.Pods, e.World.ReplicaSets, func(*appsv1.ReplicaSet) (labels.Selector, error) { return labels.Everything(), nil })(
		func(types.NamespacedName) { woken++ })
	defer stop()
	for i, step := range []struct {
		what string
		do   func()
		want int
	}{
		{"made with its owner", func() { e.World.Pods.Put(2, newPod("a", "one", map[string]string{"v": "1"})) }, 0},
		{"changed", func() { e.World.Pods.Put(3, newPod("a", "one", map[string]string{"v": "2"})) }, 1},
		{"gone", func() { e.World.Pods.Drop(4, "default", "a") }, 2},
		{"made as an orphan", func() { e.World.Pods.Put(5, newPod("b", "", map[string]string{"v": "1"})) }, 3},
		{"adopted", func() { e.World.Pods.Put(6, newPod("b", "one", map[string]string{"v": "1"})) }, 4},
	} {
		if step.do(); woken != step.want {
			t.Fatalf("step %d, %s: woken %d times, want %d", i, step.what, woken, step.want)
		}
	}
}

func TestAfterItsEndAControllerHearsNothing(t *testing.T) {
	t.Parallel()
	e := env()
	q := Keyed(e, func(context.Context, types.NamespacedName) (time.Duration, error) { return 0, errors.New("never run") }, On(e.World.Pods, Self))
	e.World.Pods.Put(1, newPod("a", "", nil))
	e.End()
	e.World.Pods.Put(2, newPod("b", "", nil))
	if q.Len() != 1 {
		t.Errorf("%d keys are queued, want the one from before the end", q.Len())
	}
}

func TestAPodIsNeverSentAsAWhole(t *testing.T) {
	t.Parallel()
	e := env()
	if _, err := Of(e, e.World.Pods).Update(t.Context(), newPod("a", "", nil)); err == nil {
		t.Error("what is left out of the mirror would have been lost")
	}
}
