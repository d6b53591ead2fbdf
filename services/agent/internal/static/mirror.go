package static

import (
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Update gives a mirror's newest version, as the API has it.
func (s *Source) Update(mirror *corev1.Pod) {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	s.world.Mirrors[key(mirror)] = mirror
	here, ok := s.world.Here[key(mirror)]
	var last *corev1.PodStatus
	if ok {
		last = s.last[here.UID]
	}
	s.mu.Unlock()
	if ok && last != nil {
		if err := s.tell(here.Pod, last); err != nil {
			s.Log.Error("status not reported", zap.Error(err))
		}
	}
	s.kick()
}

// Remove says that a mirror is gone.
func (s *Source) Remove(mirror *corev1.Pod) {
	s.mu.Lock()
	if m := s.world.Mirrors[key(mirror)]; m != nil && m.UID == mirror.UID {
		delete(s.world.Mirrors, key(mirror))
	}
	s.mu.Unlock()
	s.Out.Forget(mirror.UID)
	s.kick()
}

// Synced says that all mirrors of the node have been given.
func (s *Source) Synced() {
	s.mu.Lock()
	s.world.Known = true
	s.mu.Unlock()
	s.kick()
}

// Ended says that nothing of a static pod is left on the node.
func (s *Source) Ended(pod *corev1.Pod) {
	s.mu.Lock()
	if here, ok := s.world.Here[key(pod)]; ok && here.UID == pod.UID {
		delete(s.world.Here, key(pod))
	}
	delete(s.last, pod.UID)
	s.mu.Unlock()
	s.kick()
}

// UID is the uid that the node knows a pod by that has this one in the API.
func (s *Source) UID(uid types.UID) types.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.world.Mirrors {
		if m.UID == uid {
			return hash(m)
		}
	}
	return uid
}

// Status carries a pod's status on; a static pod's to its mirror, when there is one.
func (s *Source) Status(pod *corev1.Pod, status *corev1.PodStatus, gone bool) error {
	if !Is(pod) {
		return s.Out.Status(pod, status, gone)
	}
	if gone {
		return nil // Ended follows, and the mirror goes
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	s.last[pod.UID] = status.DeepCopy()
	s.mu.Unlock()
	return s.tell(pod, status)
}

// Forget ends the reports of a pod whose object is gone.
func (s *Source) Forget(uid types.UID) { s.Out.Forget(uid) }

// tell reports to the mirror that there is; the lock of telling is held.
func (s *Source) tell(pod *corev1.Pod, status *corev1.PodStatus) error {
	s.mu.Lock()
	m := s.world.Mirrors[key(pod)]
	s.mu.Unlock()
	if m == nil || hash(m) != pod.UID {
		return nil // it is told when there is one
	}
	return s.Out.Status(m, status, false)
}
