package job

import (
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
)

var epoch = time.Unix(1_800_000_000, 0)

func at(second int) time.Time { return epoch.Add(time.Duration(second) * time.Second) }

func list(pods ...*corev1.Pod) []*corev1.Pod { return pods }

type podChange func(*corev1.Pod)

// pod makes a tracked, pending pod.
func pod(name string, changes ...podChange) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(epoch), Finalizers: []string{batchv1.JobTrackingFinalizer}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func running(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase = "n", corev1.PodRunning }

func ready(p *corev1.Pod) {
	running(p)
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch)}}
}

// ended pods had one container, which ended with that code so many seconds after the epoch.
func ended(code int32, second int) podChange {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodSucceeded
		if code != 0 {
			p.Status.Phase = corev1.PodFailed
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(at(second))},
		}}}
	}
}

func terminating(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(epoch)) }

func released(p *corev1.Pod) { p.Finalizers = nil }

func index(i int) podChange {
	return func(p *corev1.Pod) {
		p.Annotations = map[string]string{batchv1.JobCompletionIndexAnnotation: fmt.Sprint(i)}
	}
}

// again pods are the next of their index after some that failed.
func again(failures int) podChange {
	return func(p *corev1.Pod) { p.Annotations[batchv1.JobIndexFailureCountAnnotation] = fmt.Sprint(failures) }
}

type jobChange func(*batchv1.Job)

// newJob makes a job that the API has defaulted, of three completions and two at a
// time, which has started.
func newJob(changes ...jobChange) *batchv1.Job {
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "j", UID: "j"},
		Spec: batchv1.JobSpec{
			Parallelism: ptr.To[int32](2), Completions: ptr.To[int32](3), BackoffLimit: ptr.To[int32](6),
			CompletionMode: ptr.To(batchv1.NonIndexedCompletion), Suspend: ptr.To(false),
		},
		Status: batchv1.JobStatus{
			StartTime: ptr.To(metav1.NewTime(epoch)), Ready: ptr.To[int32](0), Terminating: ptr.To[int32](0),
			UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{},
		},
	}
	for _, change := range changes {
		change(j)
	}
	return j
}

func asIndexed(j *batchv1.Job) { j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion) }

// perIndex also lifts the limit for the whole, as the API does.
func perIndex(limit int32) jobChange {
	return func(j *batchv1.Job) {
		asIndexed(j)
		j.Spec.BackoffLimitPerIndex, j.Spec.BackoffLimit = &limit, ptr.To[int32](1<<31-1)
		j.Status.FailedIndexes = ptr.To("")
	}
}

func parallelism(n int32) jobChange { return func(j *batchv1.Job) { j.Spec.Parallelism = &n } }

func completions(n int32) jobChange { return func(j *batchv1.Job) { j.Spec.Completions = &n } }

func workQueue(j *batchv1.Job) { j.Spec.Completions = nil }

func backoffLimit(n int32) jobChange { return func(j *batchv1.Job) { j.Spec.BackoffLimit = &n } }

func suspend(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) }

func replaceFailed(j *batchv1.Job) { j.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed) }

func deleted(j *batchv1.Job) { j.DeletionTimestamp = ptr.To(metav1.NewTime(epoch)) }

func onFailure(rules ...batchv1.PodFailurePolicyRule) jobChange {
	return func(j *batchv1.Job) { j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: rules} }
}

func onExit(action batchv1.PodFailurePolicyAction, code int32) batchv1.PodFailurePolicyRule {
	return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: exit(code)}
}

func status(change func(*batchv1.JobStatus)) jobChange {
	return func(j *batchv1.Job) { change(&j.Status) }
}

func active(n int32) jobChange { return status(func(s *batchv1.JobStatus) { s.Active = n }) }

func uncounted(succeeded, failed []types.UID) jobChange {
	return status(func(s *batchv1.JobStatus) {
		s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Succeeded: succeeded, Failed: failed}
	})
}

func has(kind batchv1.JobConditionType, reason, message string) jobChange {
	return status(func(s *batchv1.JobStatus) {
		s.Conditions = append(s.Conditions, *condition(kind, corev1.ConditionTrue, reason, message, epoch))
	})
}

// describe is a step in words.
func describe(s step) string {
	var out []string
	if len(s.Create) > 0 {
		if s.Create[0].Index == noIndex {
			out = append(out, fmt.Sprintf("create %d", len(s.Create)))
		} else {
			line := "create"
			for _, b := range s.Create {
				line += fmt.Sprintf(" #%d", b.Index)
				if b.Replaces != nil {
					line += " for " + b.Replaces.Name
				}
			}
			out = append(out, line)
		}
	}
	for _, bucket := range []struct {
		verb string
		pods []*corev1.Pod
	}{{"discard", s.Discard}, {"end", s.End}, {"release", s.Release}} {
		if len(bucket.pods) > 0 {
			out = append(out, bucket.verb+" "+names(bucket.pods))
		}
	}
	if s.Status != nil {
		out = append(out, strings.TrimSpace("status "+text(s.Status)))
	}
	for _, e := range s.Events {
		out = append(out, fmt.Sprintf("event %s %s", e.Reason, e.Message))
	}
	if s.Again > 0 {
		out = append(out, fmt.Sprintf("again in %v", s.Again))
	}
	return strings.Join(out, "; ")
}

func names(pods []*corev1.Pod) string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	now := at(100)
	fails := func(codes ...int32) (pods []*corev1.Pod) {
		for i, code := range codes {
			pods = append(pods, pod(fmt.Sprintf("f%d", i), ended(code, 10*i)))
		}
		return pods
	}
	uids := func(all ...types.UID) []types.UID { return all }
	tests := []struct {
		name string
		job  *batchv1.Job
		pods []*corev1.Pod
		want string
	}{
		// How many pods.
		{"a new job gets as many pods as may run at a time", newJob(), nil, "create 2"},
		{"but no more than completions are left", newJob(completions(1)), nil, "create 1"},
		{"successes that are not in the status yet count, too", newJob(active(1)), list(pod("a", ended(0, 1)), pod("b", ended(0, 2)), pod("c", running)), "status active 1 ready 0 terminating 0 succeeded 0[a b] failed 0[]"},
		{"what is missing is made before it is counted", newJob(), list(pod("a", ended(0, 1))), "create 2"},
		{"at most 500 in a step", newJob(parallelism(2000), completions(2000)), nil, "create 500"},
		{"less parallelism discards the least advanced", newJob(parallelism(1)), list(pod("a", running), pod("b", ready), pod("c")), "discard a c"},
		{"a work queue runs as many as allowed", newJob(workQueue), nil, "create 2"},
		{"and makes none after the first success", newJob(workQueue), list(pod("a", ended(0, 1)), pod("b", running)), "status active 1 ready 0 terminating 0 succeeded 0[a] failed 0[]"},
		{"a job that is being deleted makes none, and lets its pods go", newJob(deleted, active(1)), list(pod("a", running)), "release a"},

		// Suspension.
		{"a suspended job discards its pods", newJob(suspend), list(pod("a", running), pod("b", ready)), "discard a b"},
		{"then it says so, and has not started", newJob(suspend), nil, "status active 0 ready 0 terminating 0 succeeded 0[] failed 0[] Suspended(JobSuspended); event Suspended Job suspended"},
		{"a resumed one starts anew", newJob(has(batchv1.JobSuspended, "JobSuspended", "Job suspended"), active(2)), list(pod("a"), pod("b")), "status active 2 ready 0 terminating 0 succeeded 0[] failed 0[] not Suspended; event Resumed Job resumed"},

		// Failures.
		{"a failed pod is replaced after 10 s", newJob(backoffLimit(1)), list(pod("a", ended(1, 91))), "status active 0 ready 0 terminating 0 succeeded 0[] failed 0[a]; again in 1s"},
		{"after that time", newJob(), list(pod("a", ended(1, 90))), "create 2"},
		{"two failures in a row wait for 20 s", newJob(), list(pod("a", ended(1, 60)), pod("b", ended(1, 85))), "status active 0 ready 0 terminating 0 succeeded 0[] failed 0[a b]; again in 5s"},
		{"one more than backoffLimit fails the job", newJob(backoffLimit(1), active(1)), append(fails(1, 1), pod("r", running)), "status active 1 ready 0 terminating 0 succeeded 0[] failed 0[f0 f1] FailureTarget(BackoffLimitExceeded)"},
		{"restarts of containers count where pods restart them", newJob(backoffLimit(2), active(1), func(j *batchv1.Job) { j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }),
			list(pod("a", running, func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 2}} }), pod("b")),
			"status active 2 ready 0 terminating 0 succeeded 0[] failed 0[] FailureTarget(BackoffLimitExceeded)"},
		{"a pod that is being deleted has failed", newJob(), list(pod("a", running, terminating, func(p *corev1.Pod) { p.DeletionTimestamp.Time = at(95) })), "status active 0 ready 0 terminating 1 succeeded 0[] failed 0[a]; again in 5s"},
		{"unless the job replaces only what has ended", newJob(replaceFailed, completions(1)), list(pod("a", running, terminating)), "status active 0 ready 0 terminating 1 succeeded 0[] failed 0[]"},
		{"which holds its place until then", newJob(replaceFailed), list(pod("a", running, terminating)), "create 1"},

		// The end.
		{"once it is decided the other pods are ended", newJob(has(batchv1.JobFailureTarget, "BackoffLimitExceeded", "m")), list(pod("r", running), pod("s")), "end r s"},
		{"of a failed job they count as failed, at once", newJob(has(batchv1.JobFailureTarget, "BackoffLimitExceeded", "m"), replaceFailed), list(pod("r", running, terminating)), "status active 0 ready 0 terminating 1 succeeded 0[] failed 0[r] FailureTarget(BackoffLimitExceeded)"},
		{"and let go", newJob(has(batchv1.JobFailureTarget, "BackoffLimitExceeded", "m"), uncounted(nil, uids("r")), status(func(s *batchv1.JobStatus) { s.Terminating = ptr.To[int32](1) })), list(pod("r", running, terminating)), "release r"},
		{"it is not over before they have ended", newJob(has(batchv1.JobFailureTarget, "BackoffLimitExceeded", "m"), uncounted(nil, uids("r"))), list(pod("r", running, terminating, released)), "status active 0 ready 0 terminating 1 succeeded 0[] failed 1[] FailureTarget(BackoffLimitExceeded)"},
		{"then it is", newJob(has(batchv1.JobFailureTarget, "BackoffLimitExceeded", "m")), nil, "status active 0 ready 0 terminating 0 succeeded 0[] failed 0[] FailureTarget(BackoffLimitExceeded) Failed(BackoffLimitExceeded); event BackoffLimitExceeded m"},
		{"all completions decide, before the last finalizer goes", newJob(uncounted(uids("a", "b"), nil)), list(pod("a", ended(0, 1)), pod("b", ended(0, 1)), pod("c", ended(0, 1))), "status active 0 ready 0 terminating 0 succeeded 0[a b c] failed 0[] SuccessCriteriaMet(CompletionsReached)"},
		{"and complete when everything is counted", newJob(has(batchv1.JobSuccessCriteriaMet, "CompletionsReached", "m"), uncounted(uids("a", "b", "c"), nil)), list(pod("a", ended(0, 1), released), pod("b", ended(0, 1), released)),
			"status active 0 ready 0 terminating 0 succeeded 3[] failed 0[] SuccessCriteriaMet(CompletionsReached) Complete(CompletionsReached); event Completed Job completed"},
		{"one success too many is told of", newJob(has(batchv1.JobSuccessCriteriaMet, "CompletionsReached", "m"), status(func(s *batchv1.JobStatus) { s.Succeeded = 4 })), nil,
			"status active 0 ready 0 terminating 0 succeeded 4[] failed 0[] SuccessCriteriaMet(CompletionsReached) Complete(CompletionsReached); event TooManySucceededPods Too many succeeded pods running after completion count reached; event Completed Job completed"},
		{"a deadline is looked forward to", newJob(active(2), func(j *batchv1.Job) { j.Spec.ActiveDeadlineSeconds = ptr.To[int64](160) }), list(pod("a"), pod("b")), "again in 1m0s"},
		{"and ends the job", newJob(active(2), func(j *batchv1.Job) { j.Spec.ActiveDeadlineSeconds = ptr.To[int64](100) }), list(pod("a"), pod("b")), "status active 2 ready 0 terminating 0 succeeded 0[] failed 0[] FailureTarget(DeadlineExceeded)"},
		{"a job of no completions is complete", newJob(completions(0)), nil, "status active 0 ready 0 terminating 0 succeeded 0[] failed 0[] SuccessCriteriaMet(CompletionsReached)"},

		// Counting.
		{"a listed pod with its finalizer is not counted yet", newJob(uncounted(uids("a"), nil), active(2)), list(pod("a", ended(0, 1)), pod("b"), pod("c")), "release a"},
		{"without it, it is", newJob(uncounted(uids("a"), uids("b")), active(2)), list(pod("a", ended(0, 1), released), pod("c"), pod("d")), "status active 2 ready 0 terminating 0 succeeded 1[] failed 1[]"},
		{"one that was listed as failed and succeeded after all stays failed", newJob(workQueue, uncounted(nil, uids("a")), active(2)), list(pod("a", ended(0, 1)), pod("b"), pod("c")), "release a"},
		{"nothing to do is nothing to do", newJob(active(2), status(func(s *batchv1.JobStatus) { s.Ready = ptr.To[int32](1) })), list(pod("a", ready), pod("b", running)), ""},

		// Indexes.
		{"each index has one pod", newJob(asIndexed), nil, "create #0 #1"},
		{"the first ones that neither ended nor run", newJob(asIndexed, completions(5), parallelism(3)), list(pod("a", index(0), ended(0, 1)), pod("b", index(2), running)), "create #1 #3"},
		{"doubles, strangers and what is beyond completions are discarded", newJob(asIndexed, parallelism(3)), list(pod("a", index(0), running), pod("b", index(0)), pod("c", running), pod("d", index(3), running), pod("e", index(1))), "discard b c d"},
		{"their successes need no UIDs", newJob(asIndexed, active(2)), list(pod("a", index(0), ended(0, 1)), pod("b", index(1)), pod("c", index(2))), "status active 2 ready 0 terminating 0 succeeded 1[] failed 0[] completed 0"},
		{"a completed index is released", newJob(asIndexed, active(2), status(func(s *batchv1.JobStatus) { s.Succeeded, s.CompletedIndexes = 1, "0" })), list(pod("a", index(0), ended(0, 1)), pod("b", index(1)), pod("c", index(2))), "release a"},
		{"fewer completions take successes away", newJob(asIndexed, completions(2), status(func(s *batchv1.JobStatus) { s.Succeeded, s.CompletedIndexes = 3, "0-2" })), nil, "status active 0 ready 0 terminating 0 succeeded 2[] failed 0[] completed 0,1 SuccessCriteriaMet(CompletionsReached)"},
		{"a success policy that is met decides", newJob(asIndexed, active(1), func(j *batchv1.Job) {
			j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("2")}, {SucceededIndexes: ptr.To("0-1"), SucceededCount: ptr.To[int32](1)}}}
		}), list(pod("a", index(0), ended(0, 1)), pod("b", index(1), running)), "status active 1 ready 0 terminating 0 succeeded 1[] failed 0[] completed 0 SuccessCriteriaMet(SuccessPolicy)"},
		{"those it ends are no failures", newJob(asIndexed, has(batchv1.JobSuccessCriteriaMet, "SuccessPolicy", "m"), status(func(s *batchv1.JobStatus) { s.Succeeded, s.CompletedIndexes, s.Terminating = 1, "0", ptr.To[int32](1) })), list(pod("b", index(1), running, terminating)), "release b"},

		{"though they end badly", newJob(asIndexed, has(batchv1.JobSuccessCriteriaMet, "SuccessPolicy", "m"), status(func(s *batchv1.JobStatus) { s.Succeeded, s.CompletedIndexes, s.Terminating = 1, "0", ptr.To[int32](0) })), list(pod("b", index(1), ended(137, 99), terminating)), "release b"},

		// Limits of each index.
		{"a failed pod stays until its index has another, and waits alone", newJob(perIndex(1), active(1)), list(pod("a", index(0), again(0), ended(1, 95)), pod("b", index(1), again(0))), "again in 5s"},
		{"which inherits its count", newJob(perIndex(1)), list(pod("a", index(0), again(0), ended(1, 90)), pod("b", index(1), again(0))), "create #0 for a"},
		{"then it is counted", newJob(perIndex(1), active(2)), list(pod("a", index(0), again(0), ended(1, 90)), pod("b", index(1), again(0)), pod("c", index(0), again(1))), "status active 2 ready 0 terminating 0 succeeded 0[] failed 0[a] lost"},
		{"an index that failed too often is given up", newJob(perIndex(1), completions(2), active(1)), list(pod("a", index(0), again(1), ended(1, 90)), pod("b", index(1), again(0))), "status active 1 ready 0 terminating 0 succeeded 0[] failed 0[a] lost 0"},
		{"at once by a rule", newJob(perIndex(5), completions(2), active(1), onFailure(onExit(batchv1.PodFailurePolicyActionFailIndex, 9))), list(pod("a", index(0), again(0), ended(9, 90)), pod("b", index(1), again(0))), "status active 1 ready 0 terminating 0 succeeded 0[] failed 0[a] lost 0"},
		{"too many of them fail the job", newJob(perIndex(0), active(1), func(j *batchv1.Job) { j.Spec.MaxFailedIndexes = ptr.To[int32](0) }), list(pod("a", index(0), again(0), ended(1, 90)), pod("b", index(1), again(0))), "status active 1 ready 0 terminating 0 succeeded 0[] failed 0[a] lost 0 FailureTarget(MaxFailedIndexesExceeded)"},
		{"one of them does when all others are through", newJob(perIndex(0), completions(2)), list(pod("a", index(0), again(0), ended(1, 90)), pod("b", index(1), again(0), ended(0, 9))), "status active 0 ready 0 terminating 0 succeeded 1[] failed 0[a] completed 1 lost 0 FailureTarget(FailedIndexes)"},

		{"those whose pods the failed job ends are not given up", newJob(perIndex(0), has(batchv1.JobFailureTarget, "MaxFailedIndexesExceeded", "m"), func(j *batchv1.Job) { j.Status.FailedIndexes = ptr.To("0") }), list(pod("b", index(1), again(0), ended(137, 99), terminating)), "status active 0 ready 0 terminating 0 succeeded 0[] failed 0[b] lost 0 FailureTarget(MaxFailedIndexesExceeded)"},

		// Policies for failures.
		{"an ignored failure is released uncounted", newJob(backoffLimit(0), onFailure(onExit(batchv1.PodFailurePolicyActionIgnore, 7)), active(2)), list(pod("a", ended(7, 10)), pod("b"), pod("c")), "release a"},
		{"one exit code can fail the job", newJob(active(1), onFailure(onExit(batchv1.PodFailurePolicyActionIgnore, 7), onExit(batchv1.PodFailurePolicyActionFailJob, 42))), list(pod("a", ended(42, 99)), pod("b")), "status active 1 ready 0 terminating 0 succeeded 0[] failed 0[a] FailureTarget(PodFailurePolicy)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := plan(observed{tt.job, tt.pods, backoff{}}, true, now)
			if describe(got) != tt.want {
				t.Errorf("got  %s\nwant %s", describe(got), tt.want)
			}
		})
	}
}

func TestCountingGoesOnThoughPodsAreRefused(t *testing.T) {
	t.Parallel()
	got, _ := plan(observed{newJob(), list(pod("a", ended(0, 1))), backoff{}}, false, at(100))
	if want := "status active 0 ready 0 terminating 0 succeeded 0[a] failed 0[]"; describe(got) != want {
		t.Errorf("got  %s\nwant %s", describe(got), want)
	}
}

func TestTheUIDsOfAStatusAreBounded(t *testing.T) {
	t.Parallel()
	var pods []*corev1.Pod
	for i := range 700 {
		pods = append(pods, pod(fmt.Sprintf("p%03d", i), ended(0, i)))
	}
	got, _ := plan(observed{newJob(completions(700)), pods, backoff{}}, true, at(1000))
	u := got.Status.UncountedTerminatedPods
	if len(u.Succeeded) != maxUncounted {
		t.Fatalf("%d UIDs, want %d", len(u.Succeeded), maxUncounted)
	}
	j := newJob(completions(700), status(func(s *batchv1.JobStatus) { *s = *got.Status }))
	got, _ = plan(observed{j, pods, backoff{}}, true, at(1000))
	if len(got.Release) != maxUncounted || got.Release[0].Name != "p000" || got.Release[499].Name != "p499" {
		t.Errorf("releases %s: only what the status has may go", names(got.Release))
	}
}

func TestWhyAPodFailsTheJob(t *testing.T) {
	t.Parallel()
	disrupted := batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailJob, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}}
	other := batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{ContainerName: ptr.To("other"), Operator: batchv1.PodFailurePolicyOnExitCodesOpNotIn, Values: []int32{1}}}
	notIn := batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpNotIn, Values: []int32{3}}}
	byCondition := pod("a", ended(137, 1), func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}}
	})
	for _, c := range []struct {
		name  string
		pod   *corev1.Pod
		rules []batchv1.PodFailurePolicyRule
		want  string
	}{
		{"by an exit code of the list", pod("a", ended(42, 1)), []batchv1.PodFailurePolicyRule{onExit(batchv1.PodFailurePolicyActionFailJob, 42)}, "Container c for pod ns/a failed with exit code 42 matching FailJob rule at index 0"},
		{"by one that is not in it", pod("a", ended(42, 1)), []batchv1.PodFailurePolicyRule{other, notIn}, "Container c for pod ns/a failed with exit code 42 matching FailJob rule at index 1"},
		{"by a condition", byCondition, []batchv1.PodFailurePolicyRule{disrupted}, "Pod ns/a has condition DisruptionTarget matching FailJob rule at index 0"},
		{"not when an earlier rule counts it", byCondition, []batchv1.PodFailurePolicyRule{onExit(batchv1.PodFailurePolicyActionCount, 137), disrupted}, ""},
		{"not by zero, which is in no list", pod("a", ended(0, 1)), []batchv1.PodFailurePolicyRule{notIn}, ""},
	} {
		if got := rule(newJob(onFailure(c.rules...)), c.pod).failJob; got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPodOfAnIndex(t *testing.T) {
	t.Parallel()
	j := newJob(perIndex(3), onFailure(onExit(batchv1.PodFailurePolicyActionIgnore, 7)), func(j *batchv1.Job) {
		j.Spec.Template.Labels = map[string]string{"app": "x"}
		j.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c"}, {Name: "own", Env: []corev1.EnvVar{{Name: indexVariable, Value: "5"}}}}
		j.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "i"}}
	})
	template := templateOf(j)
	if !slices.Contains(template.Finalizers, batchv1.JobTrackingFinalizer) || len(j.Spec.Template.Finalizers) > 0 {
		t.Error("the pod is not tracked, or the job was changed")
	}
	for _, c := range []corev1.Container{template.Spec.InitContainers[0], template.Spec.Containers[0]} {
		if len(c.Env) != 1 || c.Env[0].ValueFrom.FieldRef.FieldPath != "metadata.labels['batch.kubernetes.io/job-completion-index']" {
			t.Errorf("%s has %v", c.Name, c.Env)
		}
	}
	if own := template.Spec.Containers[1].Env; len(own) != 1 || own[0].Value != "5" {
		t.Errorf("a variable of the user's became %v", own)
	}
	for _, c := range []struct {
		replaces *corev1.Pod
		want     string
	}{
		{nil, "0 "},
		{pod("a", index(1), again(1), ended(1, 1)), "2 "},
		{pod("a", index(1), again(1), ended(7, 1)), "1 1"},
	} {
		p := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy()}
		place(j, p, birth{1, c.replaces})
		if got := p.Annotations[batchv1.JobIndexFailureCountAnnotation] + " " + p.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation]; got != c.want {
			t.Errorf("failures counted and ignored: %q, want %q", got, c.want)
		}
		if p.Spec.Hostname != "j-1" || p.Labels[batchv1.JobCompletionIndexAnnotation] != "1" || p.Annotations[batchv1.JobCompletionIndexAnnotation] != "1" || p.Labels["app"] != "x" {
			t.Errorf("%+v", p)
		}
	}
	j.Name = strings.Repeat("n", 60)
	if got := prefixOf(j, 12); got != strings.Repeat("n", 54)+"-12-" {
		t.Errorf("generateName %s", got)
	}
}
