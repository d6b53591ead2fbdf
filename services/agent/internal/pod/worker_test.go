package pod

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/source"
	"kubus.dev/services/agent/internal/volume"
)

type noObjects struct{}

func (noObjects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}
func (noObjects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}
func (noObjects) Hold(*corev1.Pod)  {}
func (noObjects) Release(types.UID) {}

type noServices struct{}

func (noServices) Variables(context.Context, string, bool) (map[string]string, error) {
	return nil, nil
}

// bench is a manager over fakes.
type bench struct {
	t     *testing.T
	m     *Manager
	rt    *fakeRuntime
	rec   *recorder
	store *source.Store
	stop  func()
}

func newBench(t *testing.T, rt *fakeRuntime, dir string) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	store, err := source.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	rec := newRecorder()
	b := &bench{t: t, rt: rt, rec: rec, store: store}
	runner := probe.NewRunner(rt)
	probes := probe.New(runner, func(*corev1.Pod, *corev1.Container, string, string) {}, func(uid types.UID) { b.m.ProbeChanged(uid) })
	b.m = NewManager(ctx, Deps{
		Runtime: rt, Store: store, Objects: noObjects{},
		Environment: &launch.Environment{Objects: noObjects{}, Services: noServices{}},
		Volumes:     &volume.Manager{PodDir: store.PodDir, MemoryDir: store.PodDir, Objects: noObjects{}, Allocatable: func() corev1.ResourceList { return nil }},
		Forget:      func(types.UID) {}, Pulled: func() {}, PullEnded: func() {}, Probes: probes, Runner: runner, Reports: rec, Events: rec,
		Node: Node{Name: "n", IPs: func() []string { return []string{"192.0.2.1"} }, Object: func() *corev1.Node { return nil },
			ResolvConf: "/etc/resolv.conf", LogDir: dir + "/logs"},
		Log: zaptest.NewLogger(t),
	})
	go func() { _ = b.m.Run(ctx) }()
	go func() { _ = probes.Run(ctx) }()
	b.stop = func() {
		cancel()
		b.m.Wait()
	}
	t.Cleanup(b.stop)
	return b
}

// until waits for a status that pleases f.
func (b *bench) until(pod *corev1.Pod, what string, f func(s corev1.PodStatus, gone bool) bool) corev1.PodStatus {
	b.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		b.rec.mu.Lock()
		s, gone := b.rec.status[pod.UID], b.rec.gone[pod.UID]
		b.rec.mu.Unlock()
		if f(s, gone) {
			return s
		}
		select {
		case <-b.rec.rang:
		case <-deadline:
			b.t.Fatalf("never %s; status %+v, events %q, calls %q", what, s, b.rec.events, b.rt.calls)
		}
	}
}

func running(s corev1.PodStatus, _ bool) bool {
	return s.Phase == corev1.PodRunning && slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func testPod(name string, policy corev1.RestartPolicy, command ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID("uid-" + name), Generation: 1},
		Spec: corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{
			{Name: "c", Image: "img", Command: command, TerminationMessagePath: "/dev/termination-log"},
		}},
	}
}

func deleted(pod *corev1.Pod) *corev1.Pod {
	d := pod.DeepCopy()
	when, grace := metav1.Now(), int64(1)
	d.DeletionTimestamp, d.DeletionGracePeriodSeconds = &when, &grace
	return d
}

func TestPodRunsAndIsRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	pod := testPod("p", corev1.RestartPolicyAlways)
	b.m.Update(pod)
	s := b.until(pod, "ready", running)
	if s.PodIP != "10.0.0.2" || s.HostIP != "192.0.2.1" || s.ContainerStatuses[0].ContainerID == "" || s.ObservedGeneration != 1 {
		t.Errorf("incomplete status %+v", s)
	}
	b.m.Update(deleted(pod))
	b.until(pod, "gone", func(_ corev1.PodStatus, gone bool) bool { return gone })
	b.m.Update(deleted(pod)) // a late version changes nothing
	b.m.Remove(pod)
	if n := b.rt.called("sandbox p"); n != 1 {
		t.Errorf("%d sandboxes were made", n)
	}
	if len(b.rt.Sandboxes()) != 0 {
		t.Error("a sandbox is left")
	}
	if folders, _ := b.store.Folders(); len(folders) != 0 {
		t.Errorf("folders are left: %v", folders)
	}
}

func TestJobEnds(t *testing.T) {
	t.Parallel()
	for command, phase := range map[string]corev1.PodPhase{"0": corev1.PodSucceeded, "3": corev1.PodFailed} {
		b := newBench(t, newFakeRuntime(), t.TempDir())
		pod := testPod("job"+command, corev1.RestartPolicyNever, "exit", command)
		b.m.Update(pod)
		s := b.until(pod, "over", func(s corev1.PodStatus, _ bool) bool { return s.Phase == phase })
		if s.ContainerStatuses[0].State.Terminated == nil || s.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("status %+v", s.ContainerStatuses[0])
		}
	}
}

func TestCrashIsRestartedOnceAtOnceThenBacksOff(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	pod := testPod("crash", corev1.RestartPolicyAlways, "exit", "1")
	b.m.Update(pod)
	s := b.until(pod, "backing off", func(s corev1.PodStatus, _ bool) bool {
		return len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].State.Waiting != nil && s.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	c := s.ContainerStatuses[0]
	if c.RestartCount != 1 || c.LastTerminationState.Terminated == nil || !strings.HasPrefix(c.State.Waiting.Message, "back-off 10s restarting failed container=c pod=crash_ns(") {
		t.Errorf("status %+v", c)
	}
	if s.Phase != corev1.PodRunning {
		t.Errorf("phase %s", s.Phase)
	}
}

func TestAgentRestartRestartsNothing(t *testing.T) {
	t.Parallel()
	dir, rt := t.TempDir(), newFakeRuntime()
	first := newBench(t, rt, dir)
	pod := testPod("stays", corev1.RestartPolicyAlways)
	first.m.Update(pod)
	before := first.until(pod, "ready", running)
	first.stop()

	second := newBench(t, rt, dir)
	pods, statuses, err := second.store.Pods()
	if err != nil || len(pods) != 1 {
		t.Fatalf("kept pods %v, %v", pods, err)
	}
	second.m.Adopt(pods[0], statuses[pods[0].UID])
	second.m.Update(pod)
	second.m.Synced()
	after := second.until(pod, "ready", running)
	if after.ContainerStatuses[0].ContainerID != before.ContainerStatuses[0].ContainerID || rt.called("start c 0") != 1 {
		t.Errorf("the container was started again: %q", rt.calls)
	}
}

func TestAdoptedPodWithoutObjectIsRemoved(t *testing.T) {
	t.Parallel()
	dir, rt := t.TempDir(), newFakeRuntime()
	first := newBench(t, rt, dir)
	pod := testPod("deleted-meanwhile", corev1.RestartPolicyAlways)
	first.m.Update(pod)
	first.until(pod, "ready", running)
	first.stop()

	second := newBench(t, rt, dir)
	second.m.Adopt(pod, nil)
	second.m.workers[pod.UID].fromAPI.Store(false)
	second.m.Synced()
	second.m.running.Wait()
	if len(rt.Sandboxes()) != 0 {
		t.Error("its sandbox is left")
	}
}

func TestAPodThatComesAfterTheOthersIsNoOrphan(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	var pods []*corev1.Pod
	for i := range 50 {
		pod := testPod(fmt.Sprintf("late-%d", i), corev1.RestartPolicyAlways)
		pods = append(pods, pod)
		b.m.Synced()
		b.m.Update(pod)
	}
	for _, pod := range pods {
		b.until(pod, "ready", running)
	}
	if n := b.rt.called("remove sandbox"); n != 0 {
		t.Errorf("%d sandboxes of pods were removed", n)
	}
}

func TestPullFailureIsShownAndBacksOff(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	rt.pullErr = errors.New("no such image")
	b := newBench(t, rt, t.TempDir())
	pod := testPod("pull", corev1.RestartPolicyAlways)
	pod.Spec.Containers[0].Image = "absent"
	b.m.Update(pod)
	reason := func(want string) func(corev1.PodStatus, bool) bool {
		return func(s corev1.PodStatus, _ bool) bool {
			return len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].State.Waiting != nil && s.ContainerStatuses[0].State.Waiting.Reason == want
		}
	}
	b.until(pod, "ErrImagePull", reason("ErrImagePull"))
	s := b.until(pod, "ImagePullBackOff", reason("ImagePullBackOff"))
	if m := s.ContainerStatuses[0].State.Waiting.Message; m != `Back-off pulling image "absent": ErrImagePull: no such image` {
		t.Errorf("message %q", m)
	}
}

func TestMissingConfigMapIsSaidInKubeletsWords(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	pod := testPod("cm", corev1.RestartPolicyAlways)
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "X", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "nope"}, Key: "k"}}}}
	b.m.Update(pod)
	s := b.until(pod, "refused", func(s corev1.PodStatus, _ bool) bool {
		return len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].State.Waiting != nil && s.ContainerStatuses[0].State.Waiting.Reason == reasonConfig
	})
	if m := s.ContainerStatuses[0].State.Waiting.Message; m != `configmap "nope" not found` {
		t.Errorf("message %q", m)
	}
	b.m.Update(deleted(pod))
	b.until(pod, "gone", func(_ corev1.PodStatus, gone bool) bool { return gone })
}

func TestLostSandboxIsReplaced(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	pod := testPod("lost", corev1.RestartPolicyAlways)
	b.m.Update(pod)
	b.until(pod, "ready", running)
	sb := b.rt.Sandboxes()[0]
	id := b.rt.Containers(sb.ID)[0].ID
	b.rt.mu.Lock()
	b.rt.sandboxes[sb.ID].State = 2 // not ready
	b.rt.mu.Unlock()
	b.rt.end(id, 137)
	s := b.until(pod, "ready in a new sandbox", func(s corev1.PodStatus, gone bool) bool {
		return running(s, gone) && s.ContainerStatuses[0].ContainerID != "kubus://"+id
	})
	if s.ContainerStatuses[0].RestartCount != 1 && s.ContainerStatuses[0].LastTerminationState.Terminated == nil {
		t.Errorf("status %+v", s.ContainerStatuses[0])
	}
	if b.rt.called("sandbox lost") != 2 {
		t.Errorf("calls %q", b.rt.calls)
	}
}

func TestPodDeletedByForceGetsNoGrace(t *testing.T) {
	t.Parallel()
	for name, already := range map[string]bool{"a running pod": false, "a pod that is terminating": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rt := newFakeRuntime()
			rt.stubborn = true
			b := newBench(t, rt, t.TempDir())
			pod := testPod("forced", corev1.RestartPolicyAlways)
			b.m.Update(pod)
			b.until(pod, "ready", running)
			if already {
				d, grace := deleted(pod), int64(600)
				d.DeletionGracePeriodSeconds = &grace
				b.m.Update(d)
				for len(rt.graceOfStops()) == 0 {
					runtime.Gosched()
				}
			}
			b.m.Remove(pod)
			b.m.running.Wait()
			if graces := rt.graceOfStops(); graces[len(graces)-1] > leastGrace {
				t.Errorf("its container got %s", graces)
			}
			if len(rt.Sandboxes()) != 0 {
				t.Error("its sandbox is left")
			}
		})
	}
}

func TestContainersOfManyPodsAreEachStartedOnce(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	b := newBench(t, rt, t.TempDir())
	const pods = 100
	var all []*corev1.Pod
	for i := range pods {
		pod := testPod(fmt.Sprintf("one-%d", i), corev1.RestartPolicyAlways)
		all = append(all, pod)
		b.m.Update(pod)
	}
	for _, pod := range all {
		b.until(pod, "ready", running)
	}
	if n := rt.called("start c 0"); n != pods {
		t.Errorf("%d pods had %d starts", pods, n)
	}
}

func TestAPodIsJudgedByTheLabelsOfNow(t *testing.T) {
	t.Parallel()
	b := newBench(t, newFakeRuntime(), t.TempDir())
	node, looks := &corev1.Node{}, 0
	b.m.d.Node.Object = func() *corev1.Node { return node }
	b.m.d.Node.Reread = func(context.Context) {
		looks++
		node = &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"disk": "ssd"}}}
	}
	plain, labelled, other := testPod("plain", corev1.RestartPolicyAlways), testPod("labelled", corev1.RestartPolicyAlways), testPod("other", corev1.RestartPolicyAlways)
	labelled.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	other.Spec.NodeSelector = map[string]string{"disk": "tape"}
	b.m.Update(plain)
	if looks != 0 {
		t.Error("a pod that any node suits needs no second look")
	}
	b.m.Update(labelled)
	b.until(labelled, "ready", running)
	b.m.Update(other)
	b.until(other, "rejected", func(s corev1.PodStatus, _ bool) bool {
		return s.Phase == corev1.PodFailed && s.Reason == "NodeAffinity"
	})
	b.m.Update(other)
	if looks != 2 {
		t.Errorf("%d looks, want one a pod that does not match", looks)
	}
}

func TestAPodWhoseObjectIsGoneTakesNoRoom(t *testing.T) {
	t.Parallel()
	rt := newFakeRuntime()
	rt.stubborn = true
	b := newBench(t, rt, t.TempDir())
	node := &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourcePods: quantity("1")}}}
	b.m.d.Node.Object = func() *corev1.Node { return node }
	first, second, third := testPod("first", corev1.RestartPolicyAlways), testPod("second", corev1.RestartPolicyAlways), testPod("third", corev1.RestartPolicyAlways)
	b.m.Update(first)
	b.until(first, "ready", running)
	b.m.Update(second)
	if s := b.until(second, "rejected", func(s corev1.PodStatus, _ bool) bool { return s.Phase == corev1.PodFailed }); s.Reason != "OutOfpods" {
		t.Errorf("the node is full, yet: %+v", s)
	}
	b.m.Remove(first) // its container takes a while to end
	b.m.Remove(second)
	b.m.Update(third)
	b.until(third, "ready", running)
}

func TestAnotherImageIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	waiting := func(reason string) func(corev1.PodStatus, bool) bool {
		return func(s corev1.PodStatus, _ bool) bool {
			return len(s.ContainerStatuses) == 1 && s.ContainerStatuses[0].State.Waiting != nil && s.ContainerStatuses[0].State.Waiting.Reason == reason
		}
	}
	for name, c := range map[string]struct {
		image, reason string
		command       []string
	}{
		"after one that could not be pulled": {"absent", "ImagePullBackOff", nil},
		"after one that crashed":             {"img", "CrashLoopBackOff", []string{"exit", "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rt := newFakeRuntime()
			rt.pullErr = errors.New("no such image")
			b := newBench(t, rt, t.TempDir())
			pod := testPod("image", corev1.RestartPolicyAlways, c.command...)
			pod.Spec.Containers[0].Image = c.image
			b.m.Update(pod)
			b.until(pod, "backing off", waiting(c.reason))
			rt.mu.Lock()
			rt.images["good"] = true
			rt.mu.Unlock()
			mended := pod.DeepCopy()
			mended.Spec.Containers[0].Image, mended.Spec.Containers[0].Command = "good", nil
			changed := time.Now()
			b.m.Update(mended)
			b.until(pod, "ready", running)
			if d := time.Since(changed); d > 5*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// classes knows one RuntimeClass.
type classes struct{ handler string }

func (c classes) Handler(context.Context, *corev1.Pod) (string, error) {
	if c.handler == "" {
		return "", errors.New(`failed to lookup RuntimeClass x: no answer`)
	}
	return c.handler, nil
}

func TestTheSandboxIsMadeByTheHandlerOfThePodsClass(t *testing.T) {
	t.Parallel()
	for handler, call := range map[string]string{"other": "sandbox p by other", "": ""} {
		rt := newFakeRuntime()
		b := newBench(t, rt, t.TempDir())
		b.m.d.Classes = classes{handler}
		pod := testPod("p", corev1.RestartPolicyAlways)
		b.m.Update(pod)
		if call != "" {
			b.until(pod, "ready", running)
			if rt.called(call) != 1 {
				t.Errorf("calls %q, want %q", rt.calls, call)
			}
			continue
		}
		const want = "FailedCreatePodSandBox: Failed to create pod sandbox: failed to lookup RuntimeClass x: no answer"
		b.until(pod, "told why not", func(corev1.PodStatus, bool) bool {
			b.rec.mu.Lock()
			defer b.rec.mu.Unlock()
			return slices.Contains(b.rec.events, want)
		})
	}
}
