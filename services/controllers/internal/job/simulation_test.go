package job

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	podpkg "kubus.dev/services/controllers/internal/pod"
)

var (
	firstSeed = flag.Uint64("seed", 0, "run only the simulation of this seed, and tell its story")
	runs      = flag.Uint64("runs", 2000, "how many seeds are simulated")
)

// TestCountsAreExactWhateverHappens plays random jobs against a model of the log: what
// the reconciler observes lags behind, skips versions, or shows pods of later than the
// job; writes conflict, are refused in part, or take effect though their answer is lost;
// and the process dies between any two of them. A failure names its seed:
//
//	go test ./internal/job -run TestCountsAreExact -seed N
func TestCountsAreExactWhateverHappens(t *testing.T) {
	t.Parallel()
	if *firstSeed != 0 {
		s := newSimulation(*firstSeed)
		err := s.play()
		t.Logf("%s", strings.Join(s.story, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	ends := map[string]int{}
	crashes, conflicts := 0, 0
	for seed := uint64(1); seed <= *runs; seed++ {
		s := newSimulation(seed)
		if err := s.play(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		outcome := Outcome(s.job())
		ends[string(outcome.Type)+" "+outcome.Reason]++
		crashes, conflicts = crashes+s.crashes, conflicts+s.conflicts
	}
	t.Logf("%d crashes, %d conflicts; %v", crashes, conflicts, ends)
	for _, want := range []string{
		"Complete CompletionsReached", "Complete SuccessPolicy", "Failed BackoffLimitExceeded", "Failed DeadlineExceeded",
		"Failed PodFailurePolicy", "Failed FailedIndexes", "Failed MaxFailedIndexesExceeded",
	} {
		if ends[want] == 0 && *runs >= 2000 {
			t.Errorf("no simulated job ended as %s", want)
		}
	}
	if crashes == 0 || conflicts == 0 {
		t.Errorf("%d crashes and %d conflicts: nothing went wrong", crashes, conflicts)
	}
}

var simKey = types.NamespacedName{Namespace: "ns", Name: "j"}

// moment is the cluster at one revision.
type moment struct {
	job  *batchv1.Job
	pods map[string]*corev1.Pod
}

// simulation is the log, the world that changes it, and what is known for certain of
// each pod.
type simulation struct {
	random  *rand.Rand
	now     time.Time
	log     []moment // by revision; the last one is the truth
	foundAt int
	seen    int // the revision up to which the reconciler must have seen everything
	r       *reconciler
	calm    bool // nothing goes wrong any more, and pods succeed

	made      int
	discarded map[types.UID]bool // released uncounted as surplus
	succeeded map[types.UID]bool // ended so while tracked
	failed    map[types.UID]bool
	spared    map[types.UID]bool // ended by the success of others, or ignored
	counted   map[types.UID]string
	resized   bool

	crashes, conflicts int
	story              []string
	broken             error
}

var errCrash = errors.New("crash")

func newSimulation(seed uint64) *simulation {
	s := &simulation{
		random: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_800_000_000, 0),
		discarded: map[types.UID]bool{}, succeeded: map[types.UID]bool{}, failed: map[types.UID]bool{},
		spared: map[types.UID]bool{}, counted: map[types.UID]string{},
	}
	s.log = []moment{{job: s.someJob(), pods: map[string]*corev1.Pod{}}}
	s.restart()
	return s
}

// someJob is a random job that can end.
func (s *simulation) someJob() *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: simKey.Namespace, Name: simKey.Name, UID: "job", ResourceVersion: "0", CreationTimestamp: metav1.NewTime(s.now)},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To(int32(1 + s.random.IntN(6))), Completions: ptr.To(int32(1 + s.random.IntN(8))),
			BackoffLimit: ptr.To(int32(s.random.IntN(8))), Suspend: ptr.To(s.chance(5)),
		},
	}
	spec := &j.Spec
	if s.chance(4) {
		spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
	}
	if s.chance(3) {
		spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
		rules := []batchv1.PodFailurePolicyRule{
			{Action: batchv1.PodFailurePolicyActionIgnore, OnExitCodes: exit(7)},
			{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: exit(42)},
		}
		spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: rules}
	}
	if s.chance(5) {
		spec.ActiveDeadlineSeconds = ptr.To(int64(5 + s.random.IntN(200)))
	}
	switch s.random.IntN(4) {
	case 0: // a work queue
		spec.Completions = nil
	case 1:
		spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		if s.chance(2) {
			spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("0-2"), SucceededCount: ptr.To(int32(1))}}}
		}
	case 2:
		spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
		spec.BackoffLimit, spec.BackoffLimitPerIndex = ptr.To(int32(1<<31-1)), ptr.To(int32(s.random.IntN(3)))
		if s.chance(2) {
			spec.MaxFailedIndexes = ptr.To(int32(s.random.IntN(3)))
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

func (s *simulation) chance(oneIn int) bool { return s.random.IntN(oneIn) == 0 }

func (s *simulation) truth() moment { return s.log[len(s.log)-1] }

func (s *simulation) job() *batchv1.Job { return s.truth().job }

func (s *simulation) tale(format string, args ...any) {
	s.story = append(s.story, fmt.Sprintf("%4d  ", len(s.log)-1)+fmt.Sprintf(format, args...))
}

func (s *simulation) fault(format string, args ...any) {
	if s.broken == nil {
		s.broken = fmt.Errorf(format, args...)
		s.tale("BROKEN: %v", s.broken)
	}
}

// restart is a new term: it remembers nothing, and has seen what was written before it.
func (s *simulation) restart() {
	s.r = newReconciler(s, func() time.Time { return s.now })
	s.seen = len(s.log) - 1
}

// play lets things happen for a while, then only good ones, until the job has ended.
func (s *simulation) play() error {
	for i := 60 + s.random.IntN(200); i > 0 && !Finished(s.job()); i-- {
		s.happen()
		if s.chance(2) {
			s.look()
		}
	}
	s.tale("from here on nothing goes wrong")
	s.calm = true
	s.editJob(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) })
	for i := 0; s.broken == nil; i++ {
		if Finished(s.job()) {
			break
		}
		if i == 2000 {
			s.fault("the job does not end: %+v", s.job().Status)
		}
		s.now = s.now.Add(time.Duration(s.random.IntN(100)) * time.Second)
		for _, name := range s.names() {
			s.runPod(name)
		}
		s.look()
	}
	s.judge()
	return s.broken
}

// look is one reconcile, in which the process may die.
func (s *simulation) look() {
	defer func() {
		if p := recover(); p != nil {
			if p != errCrash {
				panic(p)
			}
			s.crashes++
			s.tale("crash")
			s.restart()
		}
	}()
	again, err := s.r.reconcile(context.Background(), simKey)
	s.tale("looked: again after %v, %v", again, err)
}

// mayCrash is called before and after each write.
func (s *simulation) mayCrash() {
	if !s.calm && s.chance(12) {
		panic(errCrash)
	}
}

// find gives the job of some revision that must be seen by now.
func (s *simulation) find(types.NamespacedName) *batchv1.Job {
	s.foundAt = s.revisionFrom(s.seen)
	return s.log[s.foundAt].job
}

// pods are those of when the job was found, or of later.
func (s *simulation) pods(context.Context, *batchv1.Job) ([]*corev1.Pod, error) {
	at := s.revisionFrom(s.foundAt)
	s.tale("observes the job of %d and the pods of %d", s.foundAt, at)
	return slices.Collect(maps.Values(s.log[at].pods)), nil
}

// revisionFrom is some revision from the given one on, while things go on.
func (s *simulation) revisionFrom(first int) int {
	if s.calm {
		return len(s.log) - 1
	}
	if s.chance(4) {
		s.happen()
	}
	return first + s.random.IntN(len(s.log)-first)
}

// write adds a revision of the reconciler's; what was written is seen from then on.
func (s *simulation) write(change func(m *moment)) {
	s.change(change)
	s.seen = len(s.log) - 1
}

func (s *simulation) change(change func(m *moment)) {
	next := moment{s.job(), maps.Clone(s.truth().pods)}
	change(&next)
	s.log = append(s.log, next)
}

func (s *simulation) create(_ context.Context, job *batchv1.Job, births []birth) error {
	s.mayCrash()
	template := templateOf(job)
	for _, b := range births {
		if !s.calm && s.chance(20) {
			s.tale("creation refused")
			return errors.New("exceeded quota")
		}
		s.made++
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: job.Namespace, Name: fmt.Sprintf("p%d", s.made), UID: types.UID(fmt.Sprintf("p%d", s.made)),
				CreationTimestamp: metav1.NewTime(s.now), Finalizers: template.Finalizers,
			},
			Status: corev1.PodStatus{Phase: corev1.PodPending},
		}
		if b.Index != noIndex {
			place(job, p, b)
		}
		s.write(func(m *moment) { m.pods[p.Name] = p })
		s.tale("created %s %v", p.Name, p.Annotations)
		s.checkNoneTooMany(job)
		s.mayCrash()
	}
	return nil
}

// checkNoneTooMany holds against the job as it was observed, for which the pod was made.
func (s *simulation) checkNoneTooMany(job *batchv1.Job) {
	active, places := 0, map[int]bool{}
	for _, p := range s.truth().pods {
		if !podpkg.Active(p) {
			continue
		}
		active++
		if index := indexOf(p); index != noIndex && places[index] {
			s.fault("two active pods of index %d", index)
		} else {
			places[index] = true
		}
	}
	if active > int(*job.Spec.Parallelism) {
		s.fault("%d pods are active, of a parallelism of %d", active, *job.Spec.Parallelism)
	}
}

func (s *simulation) remove(_ context.Context, _ *batchv1.Job, pods []*corev1.Pod) error {
	for _, p := range pods {
		s.mayCrash()
		if !s.calm && s.chance(20) {
			return errors.New("unable to delete pods")
		}
		if s.truth().pods[p.Name] != nil {
			s.tale("deletes %s", p.Name)
			s.write(func(m *moment) { s.deletePod(m, p.Name) })
		}
	}
	s.mayCrash()
	return nil
}

// deletePod is what the API does: a pod without finalizers that nobody runs is gone.
func (s *simulation) deletePod(m *moment, name string) {
	p := m.pods[name].DeepCopy()
	if p.DeletionTimestamp == nil {
		p.DeletionTimestamp = ptr.To(metav1.NewTime(s.now))
	}
	m.pods[name] = p
	if len(p.Finalizers) == 0 && (podpkg.Terminal(p) || p.Status.Phase == corev1.PodPending) {
		delete(m.pods, name)
	}
}

func (s *simulation) release(_ context.Context, pods []*corev1.Pod) error {
	for _, observed := range pods {
		s.mayCrash()
		p := s.truth().pods[observed.Name]
		if p == nil || !tracked(p) {
			continue
		}
		if !podpkg.Terminal(observed) && p != observed {
			s.conflicts++
			return errors.New("conflict")
		}
		s.checkRelease(p)
		s.tale("releases %s", p.Name)
		s.write(func(m *moment) {
			p = p.DeepCopy()
			p.Finalizers = nil
			m.pods[p.Name] = p
			if p.DeletionTimestamp != nil {
				s.deletePod(m, p.Name)
			}
		})
	}
	s.mayCrash()
	return nil
}

// checkRelease holds that a pod that ended is in the status before its finalizer goes.
func (s *simulation) checkRelease(p *corev1.Pod) {
	job := s.job()
	uncounted := uncountedOf(&job.Status)
	if s.counted[p.UID] != "" || slices.Contains(uncounted.Succeeded, p.UID) || slices.Contains(uncounted.Failed, p.UID) {
		return
	}
	end := decided(&job.Status)
	switch {
	case podpkg.Active(p) && end == nil:
		s.discarded[p.UID] = true
	case s.resized && indexed(job): // an index that was or is beyond completions counts for nothing
	case p.Status.Phase == corev1.PodSucceeded:
		if !indexed(job) || !parseIndexes(job.Status.CompletedIndexes, 1<<30).has(indexOf(p)) {
			s.fault("success of %s is lost", p.Name)
		}
	case !rule(job, p).counts, end != nil && end.Type == batchv1.JobSuccessCriteriaMet:
		s.spared[p.UID] = true
	default:
		s.fault("failure of %s is lost", p.Name)
	}
}

func (s *simulation) report(_ context.Context, job *batchv1.Job, status batchv1.JobStatus) error {
	s.mayCrash()
	if s.job() != job {
		s.conflicts++
		s.tale("status conflicts")
		return errors.New("conflict")
	}
	s.checkStatus(job, &status)
	s.tale("status %s", text(&status))
	s.write(func(m *moment) {
		m.job = job.DeepCopy()
		m.job.Status = *status.DeepCopy()
	})
	s.mayCrash()
	if !s.calm && s.chance(20) {
		return errors.New("the answer is lost")
	}
	return nil
}

// checkStatus holds that each pod is counted once, after its finalizer is gone, and
// what the API demands of a transition.
func (s *simulation) checkStatus(job *batchv1.Job, next *batchv1.JobStatus) {
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
			if s.counted[uid] != "" {
				s.fault("%s is counted twice", uid)
			}
			s.counted[uid] = list.name
			if p := s.truth().pods[string(uid)]; p != nil && tracked(p) {
				s.fault("%s is counted with its finalizer", uid)
			}
		}
		for _, uid := range list.after {
			if s.counted[uid] != "" {
				s.fault("%s is listed again", uid)
			}
		}
		if list.counts != list.was+settled && !(indexed(job) && list.name == "succeeded") {
			s.fault("%s goes from %d to %d with %d settled", list.name, list.was, list.counts, settled)
		}
	}
	finished := Finished(&batchv1.Job{Status: *next})
	switch {
	case Finished(job):
		s.fault("a finished job is written")
	case finished && decided(&job.Status) == nil:
		s.fault("finished without a verdict")
	case finished && (next.Active > 0 || *next.Terminating > 0 || len(after.Succeeded)+len(after.Failed) > 0 || next.StartTime == nil):
		s.fault("finished too early: %s", text(next))
	case *next.Ready > next.Active:
		s.fault("more are ready than active")
	}
}

func (s *simulation) tell(*batchv1.Job, []Occurrence) {}

// happen is something that is not the controller's doing.
func (s *simulation) happen() {
	s.now = s.now.Add(time.Duration(s.random.IntN(30_000)) * time.Millisecond)
	switch s.random.IntN(12) {
	case 0:
		s.editJob(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(!*j.Spec.Suspend) })
	case 1:
		s.editJob(func(j *batchv1.Job) {
			n := ptr.To(int32(1 + s.random.IntN(6)))
			j.Spec.Parallelism = n
			if indexed(j) && j.Spec.SuccessPolicy == nil && s.chance(2) {
				j.Spec.Completions, s.resized = n, true
			}
		})
	case 2:
		s.editJob(func(j *batchv1.Job) { j.Labels = map[string]string{"edit": fmt.Sprint(len(s.log))} })
	default:
		if names := s.names(); len(names) > 0 {
			s.runPod(names[s.random.IntN(len(names))])
		}
	}
}

func (s *simulation) editJob(edit func(*batchv1.Job)) {
	if Finished(s.job()) {
		return
	}
	s.change(func(m *moment) {
		m.job = m.job.DeepCopy()
		edit(m.job)
	})
	j := s.job()
	s.tale("job edited: parallelism %d, completions %v, suspend %v", *j.Spec.Parallelism, ptr.Deref(j.Spec.Completions, -1), *j.Spec.Suspend)
}

func (s *simulation) names() []string { return slices.Sorted(maps.Keys(s.truth().pods)) }

// runPod is the next thing that becomes of a pod.
func (s *simulation) runPod(name string) {
	p := s.truth().pods[name].DeepCopy()
	switch dice := s.random.IntN(10); {
	case podpkg.Terminal(p):
		return
	case !s.calm && dice == 0:
		s.tale("somebody deletes %s", name)
		s.change(func(m *moment) { s.deletePod(m, name) })
		return
	case p.DeletionTimestamp != nil: // the node ends it
		s.end(p, s.chance(4), 143)
	case p.Status.Phase == corev1.PodPending:
		p.Spec.NodeName, p.Status.Phase = "n", corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(s.now)}}
	default:
		s.end(p, s.calm || s.chance(2), []int32{1, 1, 1, 7, 7, 9, 42}[s.random.IntN(7)])
	}
	s.tale("%s is %s %v", name, p.Status.Phase, p.Status.ContainerStatuses)
	s.change(func(m *moment) {
		m.pods[name] = p
		if p.DeletionTimestamp != nil && len(p.Finalizers) == 0 && podpkg.Terminal(p) {
			delete(m.pods, name)
		}
	})
}

func (s *simulation) end(p *corev1.Pod, well bool, code int32) {
	p.Status.Conditions = nil
	p.Status.Phase = corev1.PodSucceeded
	if well {
		code = 0
	} else {
		p.Status.Phase = corev1.PodFailed
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(s.now)}}}}
	if !tracked(p) {
		return
	}
	if well {
		s.succeeded[p.UID] = true
	} else {
		s.failed[p.UID] = true
	}
}

// judge compares the final status with what is known of each pod.
func (s *simulation) judge() {
	if s.broken != nil {
		return
	}
	job := s.job()
	want := map[string]int32{}
	for _, how := range s.counted {
		want[how]++
	}
	if job.Status.Failed != want["failed"] || !indexed(job) && job.Status.Succeeded != want["succeeded"] {
		s.fault("status has %d succeeded and %d failed, counted were %v", job.Status.Succeeded, job.Status.Failed, want)
	}
	if indexed(job) && job.Status.Succeeded != int32(parseIndexes(job.Status.CompletedIndexes, int(*job.Spec.Completions)).count()) {
		s.fault("succeeded %d of indexes %s", job.Status.Succeeded, job.Status.CompletedIndexes)
	}
	for uid := range s.succeeded {
		if !indexed(job) && s.counted[uid] == "" {
			s.fault("%s succeeded and was not counted", uid)
		}
	}
	for uid := range s.failed {
		if s.counted[uid] == "" && !s.spared[uid] && !s.resized {
			s.fault("%s failed and was not counted", uid)
		}
	}
	for name, p := range s.truth().pods {
		if tracked(p) {
			s.fault("%s is still tracked", name)
		}
	}
	completions := ptr.Deref(job.Spec.Completions, 1)
	if o := Outcome(job); o.Reason == batchv1.JobReasonCompletionsReached && job.Status.Succeeded < completions && !s.resized {
		s.fault("complete with %d of %d", job.Status.Succeeded, completions)
	}
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
