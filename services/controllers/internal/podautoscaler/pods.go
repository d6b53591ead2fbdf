package podautoscaler

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"kubus.dev/services/controllers/internal/pod"
)

// groups are the pods of a target by what their samples say.
type groups struct {
	ready   int
	unready []string // pending, or not to be believed yet
	missing []string // without a sample
	ignored []string // about to go, or failed
}

// group sorts pods. Of CPU, what a pod uses before it is ready says nothing about load.
func group(pods []*corev1.Pod, of samples, metric corev1.ResourceName, s Settings, now time.Time) groups {
	var g groups
	for _, p := range pods {
		sample, found := of[p.Name]
		switch {
		case p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed:
			g.ignored = append(g.ignored, p.Name)
		case p.Status.Phase == corev1.PodPending:
			g.unready = append(g.unready, p.Name)
		case !found:
			g.missing = append(g.missing, p.Name)
		case metric == corev1.ResourceCPU && warming(p, sample, s, now):
			g.unready = append(g.unready, p.Name)
		default:
			g.ready++
		}
	}
	return g
}

// warming tells that a pod's CPU is that of its start. For a while after it the pod must
// be ready, and since before the sample's window; later it is enough to have been ready
// once.
func warming(p *corev1.Pod, of sample, s Settings, now time.Time) bool {
	ready := readiness(p)
	if ready == nil || p.Status.StartTime == nil {
		return true
	}
	began := p.Status.StartTime.Time
	if began.Add(s.CPUInitialization).After(now) {
		return ready.Status == corev1.ConditionFalse || of.at.Before(ready.LastTransitionTime.Add(of.window))
	}
	return ready.Status == corev1.ConditionFalse && began.Add(s.InitialReadiness).After(ready.LastTransitionTime.Time)
}

func readiness(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c
		}
	}
	return nil
}

// requests gives what each pod requests of a resource, in milli-units: one container, or
// the pod as a whole.
func requests(pods []*corev1.Pod, container string, name corev1.ResourceName) (map[string]int64, error) {
	out := make(map[string]int64, len(pods))
	for _, p := range pods {
		request, err := request(p, container, name)
		if err != nil {
			return nil, err
		}
		out[p.Name] = request
	}
	return out, nil
}

func request(p *corev1.Pod, container string, name corev1.ResourceName) (int64, error) {
	if container == "" && resource.IsPodLevelRequestsSet(p) {
		q, ok := resource.PodRequests(p, resource.PodResourcesOptions{})[name]
		if !ok {
			return 0, fmt.Errorf("missing pod-level request for %s in Pod %s", name, p.Name)
		}
		return q.MilliValue(), nil
	}
	containers := append([]corev1.Container{}, p.Spec.Containers...)
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	var sum int64
	for _, c := range containers {
		if container != "" && c.Name != container {
			continue
		}
		q, ok := c.Resources.Requests[name]
		if !ok {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", name, c.Name, p.Name)
		}
		sum += q.MilliValue()
		if c.Name == container {
			return sum, nil
		}
	}
	if container != "" {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, p.Name)
	}
	return sum, nil
}

// readyPods counts the pods that take load.
func readyPods(pods []*corev1.Pod) int {
	n := 0
	for _, p := range pods {
		if p.Status.Phase == corev1.PodRunning && pod.Ready(p) {
			n++
		}
	}
	return n
}
