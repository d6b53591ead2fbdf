package job

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/podcontrol"
	"kubus.dev/services/controllers/internal/write"
)

// api is a cluster whose mirrors show each write at once.
type api struct {
	world    *mirror.World
	revision uint64
	patches  []string
	bulks    []int // requests in each
}

func (a *api) Do(_ context.Context, r apiclient.Request) ([]byte, error) {
	j := a.world.Jobs.Get("ns", r.Path[strings.LastIndex(r.Path, "/")+1:])
	if j == nil {
		return nil, apierrors.NewNotFound(batchv1.Resource("jobs"), r.Path)
	}
	return json.Marshal(j)
}

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	a.bulks = append(a.bulks, len(requests))
	out := make([]apiclient.Result, len(requests))
	for i, r := range requests {
		object, err := a.write(r)
		if err == nil {
			out[i].Body, err = json.Marshal(object)
		}
		out[i].Err = err
	}
	return out, nil
}

func (a *api) write(r apiclient.Request) (any, error) {
	parts := strings.Split(r.Path, "/")
	a.revision++
	if strings.HasSuffix(r.Path, "/status") {
		var j batchv1.Job
		if err := json.Unmarshal(r.Body, &j); err != nil {
			return nil, err
		}
		return a.putJob(&j), nil
	}
	if r.Method == "POST" {
		var p corev1.Pod
		if err := json.Unmarshal(r.Body, &p); err != nil {
			return nil, err
		}
		p.UID = types.UID(p.Name)
		return a.putPod(&p), nil
	}
	old := a.world.Pods.Get("ns", parts[6])
	if old == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), parts[6])
	}
	p := old.DeepCopy()
	if r.Method == "DELETE" {
		terminating(p)
		return a.putPod(p), nil
	}
	a.patches = append(a.patches, string(r.Body))
	var patch struct {
		Metadata struct {
			ResourceVersion string
			OwnerReferences []metav1.OwnerReference
			Finalizers      []string
			Remove          []string `json:"$deleteFromPrimitiveList/finalizers"`
		}
	}
	if err := json.Unmarshal(r.Body, &patch); err != nil {
		return nil, err
	}
	m := patch.Metadata
	if m.ResourceVersion != "" && m.ResourceVersion != p.ResourceVersion {
		return nil, apierrors.NewConflict(corev1.Resource("pods"), p.Name, nil)
	}
	p.OwnerReferences = append(p.OwnerReferences, m.OwnerReferences...)
	p.Finalizers = slices.DeleteFunc(append(p.Finalizers, m.Finalizers...), func(f string) bool { return slices.Contains(m.Remove, f) })
	return a.putPod(p), nil
}

func (a *api) putPod(p *corev1.Pod) *corev1.Pod {
	a.revision++
	p.ResourceVersion = fmt.Sprint(a.revision)
	a.world.Pods.Put(a.revision, p)
	return p
}

func (a *api) putJob(j *batchv1.Job) *batchv1.Job {
	a.revision++
	j.ResourceVersion = fmt.Sprint(a.revision)
	a.world.Jobs.Put(a.revision, j)
	return j
}

// change edits a pod that is there.
func (a *api) change(p *corev1.Pod, changes ...podChange) {
	p = p.DeepCopy()
	for _, change := range changes {
		change(p)
	}
	a.putPod(p)
}

func inCluster(j *batchv1.Job) (*api, *live) {
	a := &api{world: mirror.NewWorld()}
	e := frame.NewEnv("job", "job-controller", a.world, write.New(a, nil), &frame.Settings{}, zap.NewNop())
	l := &live{world: a.world, jobs: frame.Of(e, a.world.Jobs), control: podcontrol.New(e), writer: e.Writer, events: e.Events}
	a.putJob(j)
	return a, l
}

// labelled jobs are complete enough for the API.
func labelled(j *batchv1.Job) {
	j.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"job": "j"}}
	j.Spec.Template.Labels = map[string]string{"job": "j"}
	j.Status = batchv1.JobStatus{}
}

var key = types.NamespacedName{Namespace: "ns", Name: "j"}

func TestAJobRunsToItsEnd(t *testing.T) {
	t.Parallel()
	a, l := inCluster(newJob(labelled, asIndexed))
	r := newReconciler(l, func() time.Time { return at(10) })
	look := func() {
		t.Helper()
		if again, err := r.reconcile(t.Context(), key); again != 0 || err != nil {
			t.Fatalf("again in %v, %v", again, err)
		}
	}
	look()
	first := a.world.Pods.List("ns")
	if len(first) != 2 || a.bulks[0] != 2 {
		t.Fatalf("%d pods by requests of %v, want 2 at once", len(first), a.bulks)
	}
	for _, p := range first {
		i := indexOf(p)
		if !strings.HasPrefix(p.Name, fmt.Sprintf("j-%d-", i)) || p.Spec.Hostname != fmt.Sprintf("j-%d", i) || !tracked(p) || !metav1.IsControlledBy(p, a.world.Jobs.Get("ns", "j")) {
			t.Errorf("%s of index %d: %+v", p.Name, i, p)
		}
		a.change(p, ended(0, 5))
	}
	look()
	for _, p := range a.world.Pods.List("ns") {
		if indexOf(p) == 2 {
			a.change(p, ended(0, 6))
		} else if tracked(p) {
			t.Errorf("%s keeps its finalizer", p.Name)
		}
	}
	look()
	got := a.world.Jobs.Get("ns", "j")
	if want := "active 0 ready 0 terminating 0 succeeded 3[] failed 0[] completed 0-2 SuccessCriteriaMet(CompletionsReached) Complete(CompletionsReached)"; text(&got.Status) != want {
		t.Errorf("status %s\nwant   %s", text(&got.Status), want)
	}
}

func TestAJobOfAnotherControllerIsLeftAlone(t *testing.T) {
	t.Parallel()
	a, l := inCluster(newJob(labelled, func(j *batchv1.Job) { j.Spec.ManagedBy = ptr.To("example.com/kueue") }))
	if again, err := newReconciler(l, time.Now).reconcile(t.Context(), key); again != 0 || err != nil || len(a.bulks) != 0 {
		t.Errorf("again in %v, %v, %v written", again, err, a.bulks)
	}
}

func TestAdoptedPodsAreTrackedAndReleasedOnesAreNot(t *testing.T) {
	t.Parallel()
	a, l := inCluster(newJob(labelled))
	j := a.world.Jobs.Get("ns", "j")
	owner := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(j, a.world.Jobs.GVK())}
	}
	a.putPod(pod("orphan", released, func(p *corev1.Pod) { p.Labels = map[string]string{"job": "j"} }))
	a.putPod(pod("relabelled", owner, func(p *corev1.Pod) { p.Labels = map[string]string{"job": "other"} }))
	owned, err := l.pods(t.Context(), j)
	if err != nil || len(owned) != 1 || owned[0].Name != "orphan" || !tracked(owned[0]) {
		t.Errorf("owned %s, %v", names(owned), err)
	}
	if p := a.world.Pods.Get("ns", "relabelled"); tracked(p) {
		t.Error("a pod that is nobody's any more is still tracked")
	}
}

func TestOnlyAPodThatHasEndedIsReleasedWhateverItBecame(t *testing.T) {
	t.Parallel()
	a, l := inCluster(newJob(labelled))
	going, done := a.putPod(pod("going", running)), a.putPod(pod("done", ended(1, 1)))
	a.change(going, ended(0, 2)) // it succeeds before the finalizer goes
	a.change(done, terminating)
	err := l.release(t.Context(), list(going, done, pod("gone")))
	if !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	if !tracked(a.world.Pods.Get("ns", "going")) || tracked(a.world.Pods.Get("ns", "done")) {
		t.Error("released what had changed, or not what had ended")
	}
}

func TestOrphansAreFreed(t *testing.T) {
	t.Parallel()
	by := func(name, uid, kind string) podChange {
		return func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: ptr.To(true)}}
		}
	}
	for _, c := range []struct {
		name string
		job  *batchv1.Job
		pod  *corev1.Pod
		free bool
	}{
		{"of nobody", newJob(), pod("p"), true},
		{"of a job that runs", newJob(), pod("p", by("j", "j", "Job")), false},
		{"of a job that is gone", newJob(), pod("p", by("gone", "gone", "Job")), true},
		{"of a job that was replaced", newJob(), pod("p", by("j", "old", "Job")), true},
		{"of one that is finished", newJob(has(batchv1.JobComplete, "", "")), pod("p", by("j", "j", "Job")), true},
		{"of one that another controller finished", newJob(has(batchv1.JobComplete, "", ""), func(j *batchv1.Job) { j.Spec.ManagedBy = ptr.To("other") }), pod("p", by("j", "j", "Job")), false},
		{"of something else", newJob(), pod("p", by("gone", "gone", "ReplicaSet")), false},
	} {
		a, l := inCluster(c.job)
		p := a.putPod(c.pod)
		var keys []orphanage
		l.orphaned(nil, p, func(k orphanage) { keys = append(keys, k) })
		if (len(keys) == 1) != c.free {
			t.Errorf("a pod %s wakes %v", c.name, keys)
		}
		everything := orphanage{namespace: "ns"}
		if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
			everything.owner = owner.UID
		}
		if _, err := l.freeOrphans(t.Context(), everything); err != nil || tracked(a.world.Pods.Get("ns", "p")) == c.free {
			t.Errorf("a pod %s: freed %t, %v", c.name, !c.free, err)
		}
	}
}
