package sim

import (
	"hash/fnv"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Annotations of pods and nodes that say what is to happen with this one.
const (
	// RunForAnnotation is how long the pod runs, as a duration.
	RunForAnnotation = "sim.kubus.dev/run-for"
	// FailAfterAnnotation lets the pod fail so long after its start; FailCodeAnnotation is
	// its exit code, 1 when left out.
	FailAfterAnnotation = "sim.kubus.dev/fail-after"
	FailCodeAnnotation  = "sim.kubus.dev/fail-code"
	// DownAnnotation of a node, when "true", is silence.
	DownAnnotation = "sim.kubus.dev/down"
)

// deed is what is to be done with a pod.
type deed uint8

// The deeds.
//
//	bound ──start──▶ Running ──succeed──▶ Succeeded
//	                  │   ▲
//	                fail  start (what is restarted)
//	                  ▼   │
//	                 Failed, or not ready
//	any, being deleted ──remove──▶ gone
const (
	nothing deed = iota
	start
	succeed
	fail
	remove
)

// next says what is to happen with a pod on a simulated node, and when. seen is when this
// version of the pod was first seen, for what the pod itself has no time.
func next(p *Profile, pod *corev1.Pod, seen time.Time) (deed, time.Time) {
	if pod.DeletionTimestamp != nil {
		wait := p.StopDelay.Duration
		if g := pod.DeletionGracePeriodSeconds; g != nil {
			wait = min(wait, time.Duration(*g)*time.Second)
		}
		return remove, seen.Add(wait)
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed:
		return nothing, time.Time{}
	case corev1.PodRunning:
		if !ready(pod) { // it has failed and is restarted
			return start, seen.Add(p.StartDelay.Duration)
		}
	default:
		return start, seen.Add(p.StartDelay.Duration)
	}
	began := started(pod, seen)
	when, fails := p.failsAt(pod, began)
	end, ends := p.endsAt(pod, began)
	switch {
	case fails && (!ends || when.Before(end)):
		return fail, when
	case ends:
		return succeed, end
	}
	return nothing, time.Time{}
}

func ready(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// started is when the containers began to run.
func started(pod *corev1.Pod, otherwise time.Time) time.Time {
	for i := range pod.Status.ContainerStatuses {
		if r := pod.Status.ContainerStatuses[i].State.Running; r != nil {
			return r.StartedAt.Time
		}
	}
	return otherwise
}

func (p *Profile) endsAt(pod *corev1.Pod, began time.Time) (time.Time, bool) {
	if d, err := time.ParseDuration(pod.Annotations[RunForAnnotation]); err == nil {
		return began.Add(d), true
	}
	if pod.Spec.RestartPolicy == corev1.RestartPolicyAlways || pod.Spec.RestartPolicy == "" {
		return time.Time{}, false
	}
	return began.Add(p.RunFor.Duration), true
}

func (p *Profile) failsAt(pod *corev1.Pod, began time.Time) (time.Time, bool) {
	if d, err := time.ParseDuration(pod.Annotations[FailAfterAnnotation]); err == nil {
		return began.Add(d), true
	}
	if f := p.failure(pod); f != nil {
		return began.Add(f.After.Duration), true
	}
	return time.Time{}, false
}

// failure finds the one that fits the pod.
func (p *Profile) failure(pod *corev1.Pod) *Failure {
	for i := range p.Failures {
		f := &p.Failures[i]
		if f.chooses.Matches(labels.Set(pod.Labels)) && (f.Percent == nil || share(string(pod.UID)) < *f.Percent) {
			return f
		}
	}
	return nil
}

// share is 0 to 99, the same for a pod each time.
func share(uid string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid))
	return int(h.Sum32() % 100)
}

// code is the exit code of a pod that fails.
func (p *Profile) code(pod *corev1.Pod) int32 {
	if n, err := strconv.ParseInt(pod.Annotations[FailCodeAnnotation], 10, 32); err == nil {
		return int32(n)
	}
	if f := p.failure(pod); f != nil && pod.Annotations[FailAfterAnnotation] == "" {
		return f.ExitCode
	}
	return 1
}

// after is the pod's status when a deed is done. ip is the pod's own.
func after(p *Profile, pod *corev1.Pod, d deed, now time.Time, hostIP, ip string) corev1.PodStatus {
	at := metav1.NewTime(now)
	s := corev1.PodStatus{Phase: corev1.PodRunning, HostIP: hostIP, HostIPs: []corev1.HostIP{{IP: hostIP}}, PodIP: pod.Status.PodIP, StartTime: pod.Status.StartTime, QOSClass: pod.Status.QOSClass}
	if s.PodIP == "" {
		s.PodIP = ip
	}
	s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	if s.StartTime == nil {
		s.StartTime = &at
	}
	restarts := pod.Spec.RestartPolicy != corev1.RestartPolicyNever
	isReady, reason := corev1.ConditionTrue, ""
	switch {
	case d == succeed:
		s.Phase, isReady, reason = corev1.PodSucceeded, corev1.ConditionFalse, "PodCompleted"
	case d == fail && !restarts:
		s.Phase, isReady, reason = corev1.PodFailed, corev1.ConditionFalse, "PodFailed"
	case d == fail:
		isReady, reason = corev1.ConditionFalse, "ContainersNotReady"
	}
	s.Conditions = conditions(pod, isReady, reason, at)
	for i := range pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, p.container(pod, i, d, at))
	}
	return s
}

// conditions are all that a kubelet tells, with the times of those that stay as they are.
func conditions(pod *corev1.Pod, isReady corev1.ConditionStatus, reason string, at metav1.Time) []corev1.PodCondition {
	var out []corev1.PodCondition
	set := func(kind corev1.PodConditionType, status corev1.ConditionStatus, reason string) {
		c := corev1.PodCondition{Type: kind, Status: status, Reason: reason, LastTransitionTime: at, ObservedGeneration: pod.Generation}
		for _, old := range pod.Status.Conditions {
			if old.Type == kind && old.Status == status {
				c.LastTransitionTime = old.LastTransitionTime
			}
		}
		out = append(out, c)
	}
	set(corev1.PodReadyToStartContainers, corev1.ConditionTrue, "")
	set(corev1.PodInitialized, corev1.ConditionTrue, "")
	set(corev1.PodReady, isReady, reason)
	set(corev1.ContainersReady, isReady, reason)
	set(corev1.PodScheduled, corev1.ConditionTrue, "")
	return out
}

func (p *Profile) container(pod *corev1.Pod, i int, d deed, at metav1.Time) corev1.ContainerStatus {
	c := corev1.ContainerStatus{Name: pod.Spec.Containers[i].Name, Image: pod.Spec.Containers[i].Image, ImageID: "sim://" + pod.Spec.Containers[i].Image}
	var old corev1.ContainerStatus
	for _, have := range pod.Status.ContainerStatuses {
		if have.Name == c.Name {
			old = have
		}
	}
	c.RestartCount = old.RestartCount
	began := at
	if r := old.State.Running; r != nil {
		began = r.StartedAt
	}
	c.ContainerID = "sim://" + string(pod.UID) + "/" + c.Name + "/" + strconv.Itoa(int(c.RestartCount))
	ended := &corev1.ContainerStateTerminated{StartedAt: began, FinishedAt: at, ContainerID: c.ContainerID}
	isUp := d == start
	c.Ready, c.Started = isUp, &isUp
	switch d {
	case start:
		if old.State.Terminated != nil {
			c.RestartCount++
			c.LastTerminationState.Terminated = old.State.Terminated
			c.ContainerID = "sim://" + string(pod.UID) + "/" + c.Name + "/" + strconv.Itoa(int(c.RestartCount))
		}
		c.State.Running = &corev1.ContainerStateRunning{StartedAt: at}
	case succeed:
		ended.Reason = "Completed"
		c.State.Terminated = ended
	case fail:
		ended.Reason, ended.ExitCode = "Error", p.code(pod)
		c.State.Terminated = ended
	}
	return c
}
