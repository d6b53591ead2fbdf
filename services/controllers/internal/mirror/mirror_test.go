package mirror

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func newPod(name, uid, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid), ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}},
		Spec:       corev1.PodSpec{NodeName: node},
	}
}

func TestHandlersHearEachChangeAndIndexesFollow(t *testing.T) {
	t.Parallel()
	world := NewWorld()
	var heard []string
	name := func(p *corev1.Pod) string {
		if p == nil {
			return "-"
		}
		return p.Name + "@" + p.Spec.NodeName
	}
	world.Pods.Handle(func(old, new *corev1.Pod) { heard = append(heard, name(old)+">"+name(new)) })
	world.Pods.Put(1, newPod("a", "1", "n"))
	world.Pods.Put(2, newPod("a", "1", "m"))
	if len(world.Pods.ByIndex(ByNode, "n")) != 0 || len(world.Pods.ByIndex(ByNode, "m")) != 1 || len(world.Pods.ByIndex(ByOrphanage, "default")) != 1 {
		t.Error("the indexes do not follow")
	}
	if world.Pods.Get("default", "a").ManagedFields != nil {
		t.Error("managedFields are kept")
	}
	world.Pods.Drop(3, "default", "a")
	world.Pods.Drop(4, "default", "a")
	if got, want := fmt.Sprint(heard), "[->a@n a@n>a@m a@m>-]"; got != want {
		t.Errorf("heard %s, want %s", got, want)
	}
	if len(world.Pods.List("")) != 0 || len(world.Pods.ByIndex(ByNode, "m")) != 0 {
		t.Error("the object is still there")
	}
}

func TestAReplacedObjectIsHeardOfAsGoneAndNew(t *testing.T) {
	t.Parallel()
	world := NewWorld()
	changes := 0
	world.Pods.Handle(func(old, new *corev1.Pod) {
		if old != nil && new != nil {
			t.Error("heard of a change")
		}
		changes++
	})
	world.Pods.Put(1, newPod("a", "1", "n"))
	other := newPod("a", "1", "n")
	other.UID = "another"
	world.Pods.Put(2, other)
	if changes != 3 {
		t.Errorf("heard of %d changes, want 3", changes)
	}
}

func TestWaitingForOwnWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := NewWorld()
		done := make(chan error, 2)
		go func() { done <- world.Pods.WaitRevision(t.Context(), 5) }()
		go func() {
			done <- world.Pods.WaitFor(t.Context(), "default", "a", func(p *corev1.Pod) bool { return p == nil })
		}()
		synctest.Wait()
		if len(done) != 1 {
			t.Fatal("what is absent already was waited for, or what is not there was not")
		}
		world.Pods.Put(4, newPod("a", "1", "n"))
		synctest.Wait()
		if len(done) != 1 {
			t.Fatal("returned before the revision")
		}
		world.Pods.Put(6, newPod("b", "1", "n"))
		synctest.Wait()
		if len(done) != 2 {
			t.Fatal("did not return after the revision")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := world.Pods.WaitRevision(ctx, 100); err == nil || len(world.Pods.waiters) != 0 {
			t.Errorf("after its context ended: %v, %d waiters left", err, len(world.Pods.waiters))
		}
	})
}

func TestAWaitHasAnEndAndIsToldWhenTheMirrorHasCaughtUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		world := NewWorld()
		var behind *Behind
		if err := world.Pods.WaitRevision(t.Context(), 5); !errors.As(err, &behind) || behind.Caught() {
			t.Fatalf("got %v", err)
		}
		world.Pods.Put(5, newPod("a", "1", "n"))
		if !behind.Caught() {
			t.Error("the mirror has it and the wait does not say so")
		}
	})
}

func TestALaterHandlerHearsFirstOfWhatIsThereAndNothingAfterItsStop(t *testing.T) {
	t.Parallel()
	world := NewWorld()
	world.Pods.Put(1, newPod("a", "1", "n"))
	heard := 0
	stop := world.Pods.Handle(func(old, new *corev1.Pod) { heard++ })
	world.Pods.Put(2, newPod("b", "1", "n"))
	if heard != 2 {
		t.Errorf("heard of %d, want of the one before and the one after", heard)
	}
	stop()
	world.Pods.Put(3, newPod("c", "1", "n"))
	if heard != 2 {
		t.Error("heard of a change after the stop")
	}
}

func TestReadingWhatNobodyFollowsIsABrokenProgram(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("an empty list instead of a panic")
		}
	}()
	NewWorld().Jobs.List("")
}

func TestWhatNoControllerReadsIsLeftOut(t *testing.T) {
	t.Parallel()
	world := NewWorld()
	p := newPod("a", "1", "n")
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", Env: []corev1.EnvVar{{Name: "A", Value: "b"}}, Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}
	world.Pods.Put(1, p)
	got := world.Pods.Get("default", "a").Spec.Containers[0]
	if got.Env != nil || len(got.Ports) != 1 || got.Image != "i" || world.Pods.Whole() {
		t.Errorf("kept: %+v", got)
	}
	world.Secrets.Put(1, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Data: map[string][]byte{"password": []byte("x")}})
	if world.Secrets.Get("default", "s").Data != nil {
		t.Error("a Secret's content is kept")
	}
}

func TestPodsOfOneOwnerShareWhatTheyHaveInCommon(t *testing.T) {
	t.Parallel()
	yes := true
	pod := func(name, node string) *corev1.Pod {
		p := newPod(name, name, node)
		p.OwnerReferences = []metav1.OwnerReference{{UID: "owner", Controller: &yes}}
		p.Labels = map[string]string{"app": "web"}
		p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
		}}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Message: name}}
		return p
	}
	world := NewWorld()
	for i, p := range []*corev1.Pod{pod("a", "n"), pod("b", "m"), pod("b", "o")} {
		want := p.DeepCopy()
		want.ManagedFields = nil
		world.Pods.Put(uint64(i+1), p)
		if got := world.Pods.Get("default", p.Name); !equality.Semantic.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	a, b := world.Pods.Get("default", "a"), world.Pods.Get("default", "b")
	if &a.Spec.Containers[0] != &b.Spec.Containers[0] || &a.OwnerReferences[0] != &b.OwnerReferences[0] {
		t.Error("containers and owners are held twice")
	}
	if &a.Status.Conditions[0] == &b.Status.Conditions[0] {
		t.Error("what differs is one")
	}
}
