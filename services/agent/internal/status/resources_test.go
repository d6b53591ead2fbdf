package status

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"

	"kubus.dev/services/agent/internal/runtime"
)

func needs(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

func TestAContainerShowsWhatItIsGrantedAndWhatItHas(t *testing.T) {
	t.Parallel()
	granted, had := needs("200m", "128Mi"), needs("100m", "64Mi")
	limits := corev1.ResourceRequirements{Limits: had.Limits}
	disk := granted.DeepCopy()
	disk.Requests[corev1.ResourceEphemeralStorage] = resource.MustParse("1Gi")
	diskHad := had.DeepCopy()
	diskHad.Requests[corev1.ResourceEphemeralStorage] = resource.MustParse("1Gi")
	none := corev1.ResourceRequirements{Requests: granted.Requests}
	for name, c := range map[string]struct {
		granted, want corev1.ResourceRequirements
		k             Container
	}{
		"one that runs has what its cgroup was set by":      {granted, had, Container{Newest: record(runtime.ContainerRunning, 0, 0), Set: &had}},
		"one that does not will have what it is granted":    {granted, granted, Container{Newest: record(runtime.ContainerExited, 0, 1), Set: &had}},
		"one of an older agent is taken to have it":         {granted, granted, Container{Newest: record(runtime.ContainerRunning, 0, 0)}},
		"what a cgroup does not limit is as granted":        {*disk, *diskHad, Container{Newest: record(runtime.ContainerRunning, 0, 0), Set: &had}},
		"a limit that is the pod's is not the container's":  {none, none, Container{Newest: record(runtime.ContainerRunning, 0, 0), Set: &limits}},
		"one that is being made again is shown as it ended": {granted, granted, Container{Newest: record(runtime.ContainerRunning, 1, 0), Last: record(runtime.ContainerExited, 0, 0), Starting: true, Set: &had}},
	} {
		p := pod(corev1.RestartPolicyAlways)
		p.Spec.Containers = p.Spec.Containers[:1]
		p.Spec.Containers[0].Resources = c.granted
		s := Generate(Input{Pod: p, Previous: &corev1.PodStatus{}, Containers: map[string]Container{"a": c.k}, Now: now})
		if got := s.ContainerStatuses[0]; !equality.Semantic.DeepEqual(*got.Resources, c.want) || !equality.Semantic.DeepEqual(got.AllocatedResources, c.granted.Requests) {
			t.Errorf("%s: has %+v, granted %+v; want %+v, %+v", name, got.Resources, got.AllocatedResources, c.want, c.granted.Requests)
		}
		if s.Resources != nil || s.AllocatedResources != nil {
			t.Errorf("%s: the pod's spec says nothing of the whole: %+v", name, s)
		}
	}
}

func TestAPodShowsItsOwnResourcesWhereItHasSome(t *testing.T) {
	t.Parallel()
	p, granted, had := pod(corev1.RestartPolicyAlways), needs("200m", "128Mi"), needs("100m", "64Mi")
	p.Spec.Resources = &granted
	previous := &corev1.PodStatus{Resources: &had}
	for resizing, want := range map[bool]corev1.ResourceRequirements{true: had, false: granted} {
		s := Generate(Input{Pod: p, Previous: previous, Resizing: resizing, Now: now})
		if !equality.Semantic.DeepEqual(*s.Resources, want) || !equality.Semantic.DeepEqual(s.AllocatedResources, granted.Requests) {
			t.Errorf("resizing %v: has %+v, granted %+v", resizing, s.Resources, s.AllocatedResources)
		}
	}
}

func TestConditionsOfAResizeAreThoseOfNow(t *testing.T) {
	t.Parallel()
	p := pod(corev1.RestartPolicyAlways)
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue}, {Type: "example.com/gate", Status: corev1.ConditionTrue}}
	progress := corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue, ObservedGeneration: 2}
	s := Generate(Input{Pod: p, Previous: &corev1.PodStatus{Conditions: p.Status.Conditions}, Resize: []corev1.PodCondition{progress}, Now: now})
	if c := condition(s.Conditions, corev1.PodResizeInProgress); c == nil || *c != progress {
		t.Errorf("got %+v", s.Conditions)
	}
	if condition(s.Conditions, corev1.PodResizePending) != nil || condition(s.Conditions, "example.com/gate") == nil {
		t.Errorf("got %+v", s.Conditions)
	}
}
