package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/runtime"
)

// Reasons of waiting containers that are not errors.
const (
	ContainerCreating = "ContainerCreating"
	PodInitializing   = "PodInitializing"
	// RestartingAllContainers is that of one that ended, or was ended, so that all of its pod start anew.
	RestartingAllContainers = "RestartingAllContainers"
)

// IDPrefix stands before a container's id in the API.
const IDPrefix = "kubus://"

// Record is one attempt of a container as the runtime keeps it.
type Record struct {
	runtime.ContainerStatus
	TerminationMessage string // of an exited attempt
}

// Reason says why a container waits.
type Reason struct {
	Reason, Message string
}

// Container is what is known of one container of the pod.
type Container struct {
	Newest *Record // nil: never made in this sandbox
	Last   *Record // the attempt before the newest, ended
	// Starting hides a newest attempt whose start (post-start hook included) is not over.
	Starting bool
	Waiting  *Reason // an error or a back-off; nil when there is none
	Again    bool    // ended, or about to, so as to start anew however it ends
	// Set is what the cgroup of the newest attempt was last set by; nil: not known.
	Set     *corev1.ResourceRequirements
	Started bool // running, and its startup probe has succeeded if it has one
	Ready   bool // its readiness probe says so, or it has none
}

// Failure ends a pod from outside its containers.
type Failure struct {
	Reason, Message string
	Rejected        bool // the node never began: no container has a status
	// Evicted: the node ends the pod. That is told when nothing runs any more, so that nobody takes its place before.
	Evicted bool
	// Own: it is evicted for a limit of its own, which is no disruption.
	Own bool
}

// Input is everything a status depends on.
type Input struct {
	Pod          *corev1.Pod
	Previous     *corev1.PodStatus // the last one generated, else the API's; never nil
	Containers   map[string]Container
	PodIPs       []string
	HostIPs      []string
	SandboxReady bool
	// Terminal: nothing runs any more and nothing will be started again.
	Terminal bool
	Failure  *Failure // deadline exceeded, rejected by the node
	// Restarting: all containers are to start anew, by the rule of one, and no regular one has since.
	Restarting bool
	Resize     []corev1.PodCondition // of a resize that waits or is under way
	Resizing   bool                  // the pod's cgroup may not have yet what the pod is granted
	Now        time.Time
}

// Generate writes the status.
func Generate(in Input) corev1.PodStatus {
	pod, prev := in.Pod, in.Previous
	s := corev1.PodStatus{
		ObservedGeneration: pod.Generation,
		QOSClass:           launch.QOS(pod),
		StartTime:          prev.StartTime,
		NominatedNodeName:  "",
		Resize:             "",
	}
	if s.StartTime == nil {
		now := metav1.NewTime(in.Now).Rfc3339Copy()
		s.StartTime = &now
	}
	addresses(&s, in)
	started := regularStarted(pod, in.Containers)
	if !rejected(in) {
		s.InitContainerStatuses = initStatuses(in, started)
		s.ContainerStatuses = containerStatuses(in)
		s.EphemeralContainerStatuses = ephemeralStatuses(in)
	}

	podResources(&s, in)
	s.Phase = phase(in, append(append([]corev1.ContainerStatus{}, s.ContainerStatuses...), s.InitContainerStatuses...), started)
	if terminal(prev.Phase) {
		s.Phase = prev.Phase
	}
	failed := in.Failure != nil && (!in.Failure.Evicted || in.Terminal)
	if failed {
		s.Phase = corev1.PodFailed
	} else if in.Failure != nil && terminal(s.Phase) && !terminal(prev.Phase) {
		s.Phase = prev.Phase
	}
	if s.Phase == prev.Phase {
		s.Reason, s.Message = prev.Reason, prev.Message
	}
	if failed {
		s.Reason, s.Message = in.Failure.Reason, in.Failure.Message
	}
	s.Conditions = conditions(in, &s, started)
	return s
}

func terminal(p corev1.PodPhase) bool { return p == corev1.PodFailed || p == corev1.PodSucceeded }

// rejected: the pod ended before the node began with it, now or in an earlier life of ours.
func rejected(in Input) bool {
	if in.Failure != nil && in.Failure.Rejected {
		return true
	}
	if !terminal(in.Previous.Phase) || len(in.Previous.ContainerStatuses) > 0 {
		return false
	}
	for _, c := range in.Containers {
		if c.Newest != nil {
			return false
		}
	}
	return true
}

func addresses(s *corev1.PodStatus, in Input) {
	if len(in.HostIPs) > 0 {
		s.HostIP = in.HostIPs[0]
		for _, ip := range in.HostIPs {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	ips := in.PodIPs
	if in.Pod.Spec.HostNetwork {
		ips = in.HostIPs
	}
	if len(ips) == 0 {
		// A stopped sandbox has no address any more; its last one stays in the status.
		s.PodIP, s.PodIPs = in.Previous.PodIP, in.Previous.PodIPs
		return
	}
	s.PodIP = ips[0]
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
}

// regularStarted tells whether any regular container of this sandbox was made.
func regularStarted(pod *corev1.Pod, containers map[string]Container) bool {
	for i := range pod.Spec.Containers {
		c := containers[pod.Spec.Containers[i].Name]
		if c.Newest != nil && c.Newest.State != runtime.ContainerCreated {
			return true
		}
	}
	return false
}
