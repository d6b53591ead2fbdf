package status

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/agent/internal/runtime"
)

func containerStatuses(in Input) []corev1.ContainerStatus {
	list := in.Pod.Spec.Containers
	out := make([]corev1.ContainerStatus, 0, len(list))
	for i := range list {
		c := &list[i]
		k := in.Containers[c.Name]
		if p := unanswered(k, find(in.Previous.ContainerStatuses, c.Name)); p != nil {
			out = append(out, *p)
			continue
		}
		s := containerStatus(in, c, k, in.Previous.ContainerStatuses, len(in.Pod.Spec.InitContainers) > 0)
		started := s.State.Running != nil && k.Started
		s.Started = &started
		s.Ready = started && k.Ready
		out = append(out, s)
	}
	return out
}

func initStatuses(in Input, regularStarted bool) []corev1.ContainerStatus {
	list := in.Pod.Spec.InitContainers
	if len(list) == 0 {
		return nil
	}
	out := make([]corev1.ContainerStatus, 0, len(list))
	for i := range list {
		c := &list[i]
		k := in.Containers[c.Name]
		if p := unanswered(k, find(in.Previous.InitContainerStatuses, c.Name)); p != nil {
			out = append(out, *p)
			continue
		}
		s := containerStatus(in, c, k, in.Previous.InitContainerStatuses, true)
		if k.Newest == nil && regularStarted && !Sidecar(c) && s.State.Waiting != nil {
			s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				Reason:  "Completed",
				Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally",
			}}
		}
		started := s.State.Running != nil && k.Started
		s.Started = &started
		if Sidecar(c) {
			s.Ready = started && k.Ready
		} else {
			s.Ready = s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
		}
		out = append(out, s)
	}
	return out
}

func ephemeralStatuses(in Input) []corev1.ContainerStatus {
	list := in.Pod.Spec.EphemeralContainers
	if len(list) == 0 {
		return nil
	}
	out := make([]corev1.ContainerStatus, 0, len(list))
	for i := range list {
		c := corev1.Container(list[i].EphemeralContainerCommon)
		if p := unanswered(in.Containers[c.Name], find(in.Previous.EphemeralContainerStatuses, c.Name)); p != nil {
			out = append(out, *p)
			continue
		}
		out = append(out, containerStatus(in, &c, in.Containers[c.Name], in.Previous.EphemeralContainerStatuses, false))
	}
	return out
}

// unanswered is the status of a container whose shim has not answered since the agent began: as it was last.
func unanswered(k Container, previous *corev1.ContainerStatus) *corev1.ContainerStatus {
	if k.Newest == nil || k.Newest.State != runtime.ContainerUnknown || previous == nil || previous.ContainerID != IDPrefix+k.Newest.ID {
		return nil
	}
	return previous.DeepCopy()
}

func containerStatus(in Input, c *corev1.Container, k Container, previous []corev1.ContainerStatus, hasInit bool) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: c.Name, Image: c.Image, VolumeMounts: volumeMounts(c)}
	newest, last := k.Newest, k.Last
	if newest != nil && (k.Starting || newest.State == runtime.ContainerCreated || newest.State == runtime.ContainerUnknown) {
		newest, last = last, nil
	}
	if newest == nil {
		unmade(in, &s, find(previous, c.Name), hasInit)
	} else {
		s.RestartCount = int32(newest.Attempt)
		s.ImageID = newest.ImageRef
		s.ContainerID = IDPrefix + newest.ID
		s.Resources = resources(c, newest, k)
		s.AllocatedResources = c.Resources.DeepCopy().Requests
		s.User = user(newest)
		s.State = state(newest)
		if last != nil && last.State == runtime.ContainerExited {
			s.LastTerminationState = state(last)
		} else if p := find(previous, c.Name); p != nil {
			s.LastTerminationState = p.LastTerminationState
			if p.State.Terminated != nil && p.ContainerID != s.ContainerID {
				s.LastTerminationState = p.State
			}
			s.RestartCount = max(s.RestartCount, p.RestartCount)
		}
	}
	if in.anew() && s.State.Running == nil {
		if s.State.Terminated != nil {
			s.LastTerminationState = s.State
		}
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: RestartingAllContainers, Message: "The container is removed because RestartAllContainers in place"}}
	}
	if k.Waiting != nil && s.State.Running == nil {
		if s.State.Terminated != nil {
			s.LastTerminationState = s.State
		}
		s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: k.Waiting.Reason, Message: k.Waiting.Message}}
	}
	return s
}

// unmade is the status of a container that the runtime does not know.
func unmade(in Input, s *corev1.ContainerStatus, p *corev1.ContainerStatus, hasInit bool) {
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: ContainerCreating}}
	if hasInit {
		waiting.Waiting.Reason = PodInitializing
	}
	s.State = waiting
	if p == nil {
		return
	}
	if p.State.Terminated != nil {
		*s = *p.DeepCopy()
		return
	}
	s.RestartCount, s.LastTerminationState = p.RestartCount, p.LastTerminationState
	if p.State.Running == nil {
		return
	}
	gone := &corev1.ContainerStateTerminated{
		Reason:      runtime.ReasonUnknown,
		Message:     "The container could not be located when the pod was deleted.  The container used to be Running",
		ExitCode:    137,
		StartedAt:   p.State.Running.StartedAt,
		FinishedAt:  metav1.NewTime(in.Now).Rfc3339Copy(),
		ContainerID: p.ContainerID,
	}
	if in.Terminal {
		gone.Message = "The container could not be located when the pod was terminated"
		s.ContainerID, s.ImageID = p.ContainerID, p.ImageID
		s.State = corev1.ContainerState{Terminated: gone}
		return
	}
	s.LastTerminationState = corev1.ContainerState{Terminated: gone}
	if in.Pod.DeletionTimestamp == nil {
		s.RestartCount++
	}
}

func state(r *Record) corev1.ContainerState {
	if r.State == runtime.ContainerRunning {
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: second(r.StartedAt)}}
	}
	message := r.Message
	if r.TerminationMessage != "" {
		if message != "" {
			message += ": "
		}
		message += r.TerminationMessage
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode:    int32(r.ExitCode),
		Signal:      0,
		Reason:      r.Reason,
		Message:     message,
		StartedAt:   second(r.StartedAt),
		FinishedAt:  second(r.FinishedAt),
		ContainerID: IDPrefix + r.ID,
	}}
}

func user(r *Record) *corev1.ContainerUser {
	if r.State == runtime.ContainerCreated {
		return nil
	}
	return &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{
		UID: r.User.UID, GID: r.User.GID, SupplementalGroups: r.User.SupplementalGroups,
	}}
}

func volumeMounts(c *corev1.Container) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			s.RecursiveReadOnly = &mode
		}
		out = append(out, s)
	}
	return out
}

func find(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}
