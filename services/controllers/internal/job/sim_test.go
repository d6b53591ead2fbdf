package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	podpkg "kubus.dev/services/controllers/internal/pod"
	"kubus.dev/services/controllers/internal/podcontrol"
	"kubus.dev/services/controllers/internal/queue"
	"kubus.dev/services/controllers/internal/sim"
)

// TestSimulation plays random jobs, and knows for certain what became of each of their
// pods: whatever happens, each is counted once, and never is one too many.
func TestSimulation(t *testing.T) {
	t.Parallel()
	ends := map[string]int{}
	sim.Seeds(t, func(t *testing.T, seed uint64) {
		p := &play{
			Model: sim.New(seed, sim.Odds{LostRequest: 0.05, LostAnswer: 0.05, Crash: 0.06, Touch: 0.1, Refuse: 0.1, Late: 0.5}), t: t,
			there: map[string]*corev1.Pod{}, succeeded: map[types.UID]bool{}, failed: map[types.UID]bool{},
			spared: map[types.UID]bool{}, counted: map[types.UID]string{},
		}
		p.jobs = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[batchv1.Job] { return w.Jobs }, p.jobChanges)
		p.pods = sim.Serve(p.Model, func(w *mirror.World) *mirror.Kind[corev1.Pod] { return w.Pods }, p.podChanges)
		p.jobs.Put(p.draw())
		p.begin()
		if err := p.play(); err != nil {
			t.Fatalf("%v\n%s", err, text(&p.job.Status))
		}
		outcome := Outcome(p.job)
		ends[string(outcome.Type)+" "+outcome.Reason]++
	})
	t.Log(ends)
	if ends["Complete "+batchv1.JobReasonCompletionsReached] == 0 {
		t.Error("no job was completed: nothing was played")
	}
}

// play is a job, what runs its pods, and its users.
type play struct {
	*sim.Model
	t    *testing.T
	calm bool // nothing goes wrong any more, and pods succeed
	term *sim.Term

	jobs sim.Collection[batchv1.Job]
	pods sim.Collection[corev1.Pod]

	job     *batchv1.Job           // as the API has it
	there   map[string]*corev1.Pod // the same
	seen    *batchv1.Job           // by the controller when it looked
	resized bool

	succeeded map[types.UID]bool // ended so while tracked
	failed    map[types.UID]bool
	spared    map[types.UID]bool // ended by the success of others, or ignored
	counted   map[types.UID]string
}

// eyes are the controller's: what it finds is noted, and it never sees pods of before
// the job, as CatchUp has it in the real cluster.
type eyes struct {
	*live
	p *play
}

func (e eyes) find(key types.NamespacedName) *batchv1.Job {
	e.p.seen = e.live.find(key)
	return e.p.seen
}

func (e eyes) pods(ctx context.Context, job *batchv1.Job) ([]*corev1.Pod, error) {
	e.p.Show(e.p.pods.Path())
	return e.live.pods(ctx, job)
}

func (p *play) begin() {
	p.term = p.Begin(p.t.Context(), func(e *frame.Env) queue.Reconciler[types.NamespacedName] {
		l := &live{world: e.World, jobs: frame.Of(e, e.World.Jobs), control: podcontrol.New(e), writer: e.Writer, events: e.Events}
		return newReconciler(eyes{l, p}, time.Now).reconcile
	})
}

// draw is a random job that can end.
func (p *play) draw() *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To(int32(1 + p.Rand.IntN(6))), Completions: ptr.To(int32(1 + p.Rand.IntN(8))),
			BackoffLimit: ptr.To(int32(p.Rand.IntN(8))), Suspend: ptr.To(p.chance(5)),
		},
	}
	spec := &j.Spec
	if p.chance(4) {
		spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
	}
	if p.chance(3) {
		spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
		rules := []batchv1.PodFailurePolicyRule{
			{Action: batchv1.PodFailurePolicyActionIgnore, OnExitCodes: exit(7)},
			{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: exit(42)},
		}
		spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: rules}
	}
	if p.chance(5) {
		spec.ActiveDeadlineSeconds = ptr.To(int64(5 + p.Rand.IntN(200)))
	}
	switch p.Rand.IntN(4) {
	case 0: // a work queue
		spec.Completions = nil
	case 1:
		spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		if p.chance(2) {
			spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0-2"), SucceededCount: ptr.To(int32(1))}}}
		}
	case 2:
		spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		spec.BackoffLimit, spec.BackoffLimitPerIndex = ptr.To(int32(1<<31-1)), ptr.To(int32(p.Rand.IntN(3)))
		if p.chance(2) {
			spec.MaxFailedIndexes = ptr.To(int32(p.Rand.IntN(3)))
		}
		if spec.PodFailurePolicy != nil {
			spec.PodFailurePolicy.Rules = append(spec.PodFailurePolicy.Rules, batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailIndex, OnExitCodes: exit(9)})
		}
	}
	return j
}

func exit(code int32) *batchv1.PodFailurePolicyOnExitCodesRequirement {
	return &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{code}}
}

func (p *play) chance(oneIn int) bool { return p.Rand.IntN(oneIn) == 0 }

// play lets things happen for a while, then only good ones, until the job has ended.
func (p *play) play() error {
	for i := 60 + p.Rand.IntN(200); i > 0 && !Finished(p.job) && p.Err() == nil; i-- {
		p.happen()
		if p.Crashed() {
			p.begin()
		}
	}
	p.calm, p.Odds = true, sim.Odds{}
	if !Finished(p.job) {
		p.edit(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) })
	}
	for i := 0; p.Err() == nil; i++ {
		if Finished(p.job) {
			return p.judge()
		}
		if i == 2000 {
			return fmt.Errorf("the job does not end")
		}
		time.Sleep(time.Duration(p.Rand.IntN(100)) * time.Second)
		for _, each := range p.pods.List() {
			p.run(each)
		}
		p.Deliver(true)
		p.term.Reconcile(key)
	}
	return p.Err()
}

// happen is the controller's look, or something that is not its doing.
func (p *play) happen() {
	switch n := p.Rand.IntN(100); {
	case n < 35:
		p.term.Reconcile(key)
	case n < 70:
		if pods := p.pods.List(); len(pods) > 0 {
			p.run(pods[p.Rand.IntN(len(pods))])
		}
	case n < 78:
		p.Deliver(false)
	case n < 90:
		time.Sleep(time.Duration(p.Rand.Int64N(int64(30 * time.Second))))
	case n < 92:
		p.edit(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(!*j.Spec.Suspend) })
	case n < 94:
		p.edit(func(j *batchv1.Job) {
			n := ptr.To(int32(1 + p.Rand.IntN(6)))
			j.Spec.Parallelism = n
			if indexed(j) && j.Spec.SuccessPolicy == nil && p.chance(2) {
				j.Spec.Completions, p.resized = n, true
			}
		})
	case n < 97:
		p.edit(func(j *batchv1.Job) { j.Labels = map[string]string{"edit": fmt.Sprint(p.Rand.IntN(1000))} })
	default:
		p.End()
	}
}

func (p *play) edit(change func(*batchv1.Job)) {
	j := p.jobs.List()[0]
	change(j)
	p.jobs.Put(j)
}

// run is the next thing that becomes of a pod.
func (p *play) run(each *corev1.Pod) {
	switch dice := p.Rand.IntN(10); {
	case podpkg.Terminal(each) && each.DeletionTimestamp != nil:
		p.remove(each)
	case podpkg.Terminal(each):
	case !p.calm && dice == 0 && each.DeletionTimestamp == nil:
		each.DeletionTimestamp, each.DeletionGracePeriodSeconds = ptr.To(metav1.Now()), ptr.To(int64(30))
		if each.Spec.NodeName == "" {
			p.remove(each)
			return
		}
		p.pods.Put(each)
	case each.DeletionTimestamp != nil: // the node ends it
		p.end(each, p.chance(4), 143)
	case each.Status.Phase == corev1.PodPending:
		each.Spec.NodeName, each.Status.Phase = "n", corev1.PodRunning
		each.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		p.pods.Put(each)
	default:
		p.end(each, p.calm || p.chance(2), []int32{1, 1, 1, 7, 7, 9, 42}[p.Rand.IntN(7)])
	}
}

// remove is the API's last word on a pod that nobody runs: it stays while it is tracked.
func (p *play) remove(each *corev1.Pod) {
	if each.DeletionGracePeriodSeconds = ptr.To(int64(0)); len(each.Finalizers) == 0 {
		p.pods.Remove(each)
		return
	}
	p.pods.Put(each)
}

func (p *play) end(each *corev1.Pod, well bool, code int32) {
	each.Status.Conditions = nil
	each.Status.Phase = corev1.PodSucceeded
	if well {
		code = 0
	} else {
		each.Status.Phase = corev1.PodFailed
	}
	each.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.Now()}}}}
	if tracked(each) && well {
		p.succeeded[each.UID] = true
	} else if tracked(each) {
		p.failed[each.UID] = true
	}
	p.pods.Put(each)
}

func (p *play) podChanges(old, new *corev1.Pod, own bool) error {
	if new == nil {
		delete(p.there, old.Name)
	} else {
		p.there[new.Name] = new
	}
	switch {
	case old == nil:
		return p.created()
	case own && tracked(old) && (new == nil || !tracked(new)):
		return p.released(old)
	}
	return nil
}

// created holds against the job as it was seen, for which the pod was made.
func (p *play) created() error {
	active, places := 0, map[int]bool{}
	for _, each := range p.there {
		if !podpkg.Active(each) {
			continue
		}
		active++
		if index := indexOf(each); index != noIndex && places[index] {
			return fmt.Errorf("two active pods of index %d", index)
		} else {
			places[index] = true
		}
	}
	if active > int(*p.seen.Spec.Parallelism) {
		return fmt.Errorf("%d pods are active, of a parallelism of %d", active, *p.seen.Spec.Parallelism)
	}
	return nil
}

// released holds that a pod that ended is in the status before its finalizer goes.
func (p *play) released(each *corev1.Pod) error {
	uncounted := uncountedOf(&p.job.Status)
	if p.counted[each.UID] != "" || slices.Contains(uncounted.Succeeded, each.UID) || slices.Contains(uncounted.Failed, each.UID) {
		return nil
	}
	end := decided(&p.job.Status)
	switch {
	case podpkg.Active(each) && end == nil: // as surplus
	case p.resized && indexed(p.job): // an index that was or is beyond completions counts for nothing
	case each.Status.Phase == corev1.PodSucceeded:
		if !indexed(p.job) || !parseIndexes(p.job.Status.CompletedIndexes, 1<<30).has(indexOf(each)) {
			return fmt.Errorf("success of %s is lost", each.Name)
		}
	case !rule(p.job, each).counts, end != nil && end.Type == batchv1.JobSuccessCriteriaMet:
		p.spared[each.UID] = true
	default:
		return fmt.Errorf("failure of %s is lost", each.Name)
	}
	return nil
}

func (p *play) jobChanges(old, new *batchv1.Job, own bool) error {
	p.job = new
	if old == nil || !own {
		return nil
	}
	return p.reported(old, &new.Status)
}

// reported holds that each pod is counted once, after its finalizer is gone, and what
// the API demands of a transition.
func (p *play) reported(job *batchv1.Job, next *batchv1.JobStatus) error {
	before, after := uncountedOf(&job.Status), uncountedOf(next)
	for _, list := range []struct {
		name          string
		before, after []types.UID
		counts, was   int32
	}{
		{"succeeded", before.Succeeded, after.Succeeded, next.Succeeded, job.Status.Succeeded},
		{"failed", before.Failed, after.Failed, next.Failed, job.Status.Failed},
	} {
		settled := int32(0)
		for _, uid := range list.before {
			if slices.Contains(list.after, uid) {
				continue
			}
			settled++
			if p.counted[uid] != "" {
				return fmt.Errorf("%s is counted twice", uid)
			}
			p.counted[uid] = list.name
			for _, each := range p.there {
				if each.UID == uid && tracked(each) {
					return fmt.Errorf("%s is counted with its finalizer", uid)
				}
			}
		}
		for _, uid := range list.after {
			if p.counted[uid] != "" {
				return fmt.Errorf("%s is listed again", uid)
			}
		}
		if list.counts != list.was+settled && !(indexed(job) && list.name == "succeeded") {
			return fmt.Errorf("%s goes from %d to %d with %d settled", list.name, list.was, list.counts, settled)
		}
	}
	finished := Finished(&batchv1.Job{Status: *next})
	switch {
	case Finished(job):
		return fmt.Errorf("a finished job is written")
	case finished && decided(&job.Status) == nil:
		return fmt.Errorf("finished without a verdict")
	case finished && (next.Active > 0 || *next.Terminating > 0 || len(after.Succeeded)+len(after.Failed) > 0 || next.StartTime == nil):
		return fmt.Errorf("finished too early: %s", text(next))
	case *next.Ready > next.Active:
		return fmt.Errorf("more are ready than active")
	}
	return nil
}

// judge compares the final status with what is known of each pod.
func (p *play) judge() error {
	job := p.job
	want := map[string]int32{}
	for _, how := range p.counted {
		want[how]++
	}
	if job.Status.Failed != want["failed"] || !indexed(job) && job.Status.Succeeded != want["succeeded"] {
		return fmt.Errorf("status has %d succeeded and %d failed, counted were %v", job.Status.Succeeded, job.Status.Failed, want)
	}
	if indexed(job) && job.Status.Succeeded != int32(parseIndexes(job.Status.CompletedIndexes, int(*job.Spec.Completions)).count()) {
		return fmt.Errorf("succeeded %d of indexes %s", job.Status.Succeeded, job.Status.CompletedIndexes)
	}
	for uid := range p.succeeded {
		if !indexed(job) && p.counted[uid] == "" {
			return fmt.Errorf("%s succeeded and was not counted", uid)
		}
	}
	for uid := range p.failed {
		if p.counted[uid] == "" && !p.spared[uid] && !p.resized {
			return fmt.Errorf("%s failed and was not counted", uid)
		}
	}
	for _, each := range p.there {
		if tracked(each) {
			return fmt.Errorf("%s is still tracked", each.Name)
		}
	}
	if o := Outcome(job); o.Reason == batchv1.JobReasonCompletionsReached && job.Status.Succeeded < ptr.Deref(job.Spec.Completions, 1) && !p.resized {
		return fmt.Errorf("complete with %d of %d", job.Status.Succeeded, ptr.Deref(job.Spec.Completions, 1))
	}
	return nil
}

// text is a status in a line.
func text(status *batchv1.JobStatus) string {
	u := uncountedOf(status)
	var conditions []string
	for _, c := range status.Conditions {
		if c.Status == corev1.ConditionTrue {
			conditions = append(conditions, fmt.Sprintf("%s(%s)", c.Type, c.Reason))
		} else {
			conditions = append(conditions, fmt.Sprintf("not %s", c.Type))
		}
	}
	out := fmt.Sprintf("active %d ready %d terminating %d succeeded %d%v failed %d%v", status.Active, ptr.Deref(status.Ready, -1), ptr.Deref(status.Terminating, -1),
		status.Succeeded, u.Succeeded, status.Failed, u.Failed)
	if status.CompletedIndexes != "" {
		out += " completed " + status.CompletedIndexes
	}
	if status.FailedIndexes != nil {
		out += " lost " + *status.FailedIndexes
	}
	return out + " " + strings.Join(conditions, " ")
}
