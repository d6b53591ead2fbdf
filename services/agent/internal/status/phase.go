package status

import corev1 "k8s.io/api/core/v1"

// phase follows kubelet's getPhase. initialized: a regular container was made before.
func phase(in Input, statuses []corev1.ContainerStatus, initialized bool) corev1.PodPhase {
	pod := in.Pod
	byName := make(map[string]*corev1.ContainerStatus, len(statuses))
	for i := range statuses {
		byName[statuses[i].Name] = &statuses[i]
	}
	pendingInit, pendingSidecars := 0, 0
	var unknown, running, waiting, stopped, final, succeeded int
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := byName[c.Name]
		if Sidecar(c) {
			switch {
			case s == nil:
				unknown++
			case s.State.Running != nil:
				if s.Started == nil || !*s.Started {
					pendingSidecars++
				}
				running++
			case s.State.Terminated != nil:
			case s.LastTerminationState.Terminated == nil:
				pendingSidecars++
				waiting++
			}
			continue
		}
		switch code, ended := ended(s); {
		case !ended:
			pendingInit++
		case code != 0 && !Restarts(pod, c, code) && !in.anew():
			return corev1.PodFailed
		case s.State.Terminated == nil && code == 0:
			pendingInit++
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		s := byName[c.Name]
		switch {
		case s == nil:
			unknown++
		case s.State.Running != nil:
			running++
		default:
			code, ended := ended(s)
			if !ended {
				waiting++
				continue
			}
			stopped++
			if !in.Containers[c.Name].Again && !in.anew() && !Restarts(pod, c, code) {
				final++
			}
			if s.State.Terminated != nil && code == 0 {
				succeeded++
			}
		}
	}
	switch {
	case pendingInit > 0 || pendingSidecars > 0 && !initialized || waiting > 0:
		return corev1.PodPending
	case running > 0 && unknown == 0:
		return corev1.PodRunning
	case running == 0 && stopped > 0 && unknown == 0:
		if !in.Terminal && final < stopped {
			return corev1.PodRunning // some are about to restart
		}
		if stopped == succeeded {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	}
	return corev1.PodPending
}

// anew tells whether no end of a container counts, since all are to start anew.
func (in Input) anew() bool { return in.Restarting && !in.Terminal }

// ended gives the exit code of a container that has ended at least once and does not run.
func ended(s *corev1.ContainerStatus) (code int32, ok bool) {
	switch {
	case s == nil || s.State.Running != nil:
		return 0, false
	case s.State.Terminated != nil:
		return s.State.Terminated.ExitCode, true
	case s.LastTerminationState.Terminated != nil:
		return s.LastTerminationState.Terminated.ExitCode, true
	}
	return 0, false
}
