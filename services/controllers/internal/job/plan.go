package job

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"

	podpkg "kubus.dev/services/controllers/internal/pod"
)

// atOnce is the most pods that one step creates or deletes: what one request holds.
const atOnce = 500

// observed is a job and its pods as of one point of the log.
type observed struct {
	job     *batchv1.Job
	pods    []*corev1.Pod // those it controls
	backoff backoff       // what was remembered before this look
}

// step is the next thing to do for a job: one of its buckets is filled, or none is.
type step struct {
	Create  []birth            // pods that are missing
	Discard []*corev1.Pod      // active pods that are too many: they are never counted
	End     []*corev1.Pod      // active pods of a job that is decided
	Status  *batchv1.JobStatus // to be written, with Events to tell afterwards
	Release []*corev1.Pod      // pods the status accounts for: the finalizer may go
	Events  []Occurrence
	// Again is when to look again though nothing changes; zero is never.
	Again time.Duration
}

// birth is a pod to create.
type birth struct {
	Index    int         // its completion index; noIndex where there are none
	Replaces *corev1.Pod // the last failed pod of that index, whose count of failures it inherits; may be nil
}

// manages is true of a step that makes or removes pods.
func (s step) manages() bool { return len(s.Create)+len(s.Discard)+len(s.End) > 0 }

// none is true when there is nothing to do.
func (s step) none() bool { return !s.manages() && s.Status == nil && len(s.Release) == 0 }

// plan decides what is done next for a job that is not finished. Without manage no
// pod is made or removed; what happened to them is counted all the same.
//
// The order keeps the counts exact wherever it is broken off: what decides the job is
// written before it has consequences, a pod is in the status before its finalizer
// goes, and the finalizer is gone before the pod moves from the list in the status to
// the count.
func plan(o observed, manage bool, now time.Time) (step, backoff) {
	t := tallyOf(o)
	end := t.verdict(now)
	var next step
	if end == nil {
		next.Again = t.deadline(now)
		if manage && o.job.DeletionTimestamp == nil {
			todo := t.populate(now)
			if todo.manages() {
				return todo, t.backoff
			}
			next.Again = sooner(next.Again, todo.Again)
		}
		end = t.complete(now)
	} else if manage && len(t.active) > 0 && decided(&o.job.Status) != nil {
		return step{End: t.active[:min(len(t.active), atOnce)]}, t.backoff
	}
	status, accounted, events := t.status(end, now)
	if !equality.Semantic.DeepEqual(o.job.Status, status) {
		next.Status, next.Events = &status, events
		return next, t.backoff
	}
	next.Release = accounted
	return next, t.backoff
}

// sooner is the earlier of two looks; zero is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// tally is what the pods of a job amount to.
type tally struct {
	observed
	active      []*corev1.Pod
	ready       int32
	terminating int32
	succeeded   int // of a job without indexes: all, whether the status has them yet or not
	failed      int // as far as they count towards backoffLimit
	// of an indexed job
	completed indexes
	given     *indexes            // up: those that failed too often; nil without a limit for each
	replaced  map[int]*corev1.Pod // failed pods that are kept until the index has another pod
}

func tallyOf(o observed) *tally {
	t := &tally{observed: o}
	t.pods = slices.Clone(o.pods)
	slices.SortFunc(t.pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range t.pods {
		switch {
		case podpkg.Active(p):
			t.active = append(t.active, p)
			if podpkg.Ready(p) {
				t.ready++
			}
		case podpkg.Terminating(p):
			t.terminating++
		}
	}
	t.count()
	if indexed(t.job) {
		t.countIndexes()
	}
	return t
}

// count adds what ended since the status was written.
func (t *tally) count() {
	uncounted := uncountedOf(&t.job.Status)
	t.succeeded = int(t.job.Status.Succeeded) + len(uncounted.Succeeded)
	t.failed = int(t.job.Status.Failed) + len(uncounted.Failed)
	inSucceeded, inFailed := setOf(uncounted.Succeeded), setOf(uncounted.Failed)
	var succeeded, failed []*corev1.Pod
	for _, p := range t.pods {
		if indexed(t.job) && !validIndex(t.job, p) {
			continue
		}
		switch {
		case p.Status.Phase == corev1.PodSucceeded && inFailed[p.UID]: // once counted, no longer asked
		case p.Status.Phase == corev1.PodSucceeded:
			succeeded = append(succeeded, p)
			if tracked(p) && !inSucceeded[p.UID] {
				t.succeeded++
			}
		case tracked(p) && t.fails(p):
			failed = append(failed, p)
			if !inFailed[p.UID] && rule(t.job, p).counts {
				t.failed++
			}
		case p.Status.Phase == corev1.PodFailed && p.DeletionTimestamp == nil: // counted, and still tells when it failed
			failed = append(failed, p)
		}
	}
	t.backoff = t.backoff.with(succeeded, failed)
}

// countIndexes finds the indexes that succeeded or are given up, and which failed pods
// are needed until their index has another.
func (t *tally) countIndexes() {
	completions := int(*t.job.Spec.Completions)
	var succeeded, failed []int
	limited := t.job.Spec.BackoffLimitPerIndex != nil
	inFailed := setOf(uncountedOf(&t.job.Status).Failed)
	for _, p := range t.pods {
		if !tracked(p) || !validIndex(t.job, p) {
			continue
		}
		if p.Status.Phase == corev1.PodSucceeded {
			if !inFailed[p.UID] {
				succeeded = append(succeeded, indexOf(p))
			}
		} else if limited && t.fails(p) && t.givesUp(p) {
			failed = append(failed, indexOf(p))
		}
	}
	t.completed = parseIndexes(t.job.Status.CompletedIndexes, completions).union(indexesOf(succeeded))
	t.succeeded = t.completed.count()
	if !limited {
		return
	}
	given := parseIndexes(ptr.Deref(t.job.Status.FailedIndexes, ""), completions)
	if decided(&t.job.Status) == nil { // afterwards pods end because the job does
		given = given.union(indexesOf(failed))
	}
	t.given = &given
	t.replaced = t.awaitingReplacement()
}

// givesUp is true when the failure of this pod is one too many for its index.
func (t *tally) givesUp(p *corev1.Pod) bool {
	r := rule(t.job, p)
	return r.failIndex || r.counts && failuresBefore(p) >= *t.job.Spec.BackoffLimitPerIndex
}

// awaitingReplacement gives the last failed pod of each index that has neither ended
// nor an active pod: the next pod of the index learns from it how often it failed.
func (t *tally) awaitingReplacement() map[int]*corev1.Pod {
	busy := map[int]bool{}
	for _, p := range t.active {
		busy[indexOf(p)] = true
	}
	out := map[int]*corev1.Pod{}
	for _, p := range t.pods {
		index := indexOf(p)
		if !tracked(p) || !validIndex(t.job, p) || !t.fails(p) || busy[index] || t.completed.has(index) || t.given.has(index) {
			continue
		}
		if last := out[index]; last == nil || allFailuresBefore(last) <= allFailuresBefore(p) && !finished(p).Before(finished(last)) {
			out[index] = p
		}
	}
	return out
}

// fails is true of a pod that counts as failed: it did, or it is being deleted and
// the job replaces such pods at once.
func (t *tally) fails(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed ||
		!t.waitsForTheEnd() && p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded
}

// waitsForTheEnd is podReplacementPolicy Failed: a terminating pod holds its place.
func (t *tally) waitsForTheEnd() bool {
	return ptr.Deref(t.job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}

// populate compares the active pods with the wish.
func (t *tally) populate(now time.Time) step {
	active, completions := len(t.active), int(ptr.Deref(t.job.Spec.Completions, 0))
	if suspended(t.job) {
		return step{Discard: t.active[:min(active, atOnce)]}
	}
	wish := t.wish()
	if remove := surplus(t.active, active-wish, indexed(t.job), completions); len(remove) > 0 {
		return step{Discard: remove[:min(len(remove), atOnce)]}
	}
	missing := wish - active
	if t.waitsForTheEnd() {
		missing -= int(t.terminating)
	}
	if missing <= 0 {
		return step{}
	}
	missing = min(missing, atOnce)
	if t.given != nil {
		return t.replacements(missing, completions, now)
	}
	if wait := t.backoff.wait(now); wait > 0 {
		return step{Again: wait}
	}
	if !indexed(t.job) {
		return step{Create: slices.Repeat([]birth{{Index: noIndex}}, missing)}
	}
	var create []birth
	for _, index := range t.pending(missing, completions) {
		create = append(create, birth{Index: index})
	}
	return step{Create: create}
}

// wish is how many pods should be active.
func (t *tally) wish() int {
	parallelism := int(ptr.Deref(t.job.Spec.Parallelism, 1))
	if t.job.Spec.Completions != nil {
		return max(0, min(parallelism, int(*t.job.Spec.Completions)-t.succeeded))
	}
	if t.succeeded > 0 { // one success is enough; those that run may end
		return len(t.active)
	}
	return parallelism
}

// pending are the first indexes that have neither ended nor a pod.
func (t *tally) pending(count, completions int) []int {
	var busy []int
	for _, p := range t.pods {
		if index := indexOf(p); index != noIndex && (podpkg.Active(p) || t.waitsForTheEnd() && podpkg.Terminating(p)) {
			busy = append(busy, index)
		}
	}
	taken := t.completed.union(indexesOf(busy))
	if t.given != nil {
		taken = taken.union(*t.given)
	}
	return taken.gaps(count, completions)
}

// replacements are pods for pending indexes, each with a back-off of its own.
func (t *tally) replacements(count, completions int, now time.Time) step {
	var out step
	for _, index := range t.pending(count, completions) {
		b := birth{Index: index, Replaces: t.replaced[index]}
		if b.Replaces != nil {
			if wait := backoffWait(int(allFailuresBefore(b.Replaces))+1, finished(b.Replaces), now); wait > 0 {
				out.Again = sooner(out.Again, wait)
				continue
			}
		}
		out.Create = append(out.Create, b)
	}
	return out
}

// suspended is spec.suspend.
func suspended(job *batchv1.Job) bool { return ptr.Deref(job.Spec.Suspend, false) }
