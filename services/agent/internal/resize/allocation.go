package resize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"kubus.dev/services/kit/file"
)

// Allocation is what the node has granted a pod: the resources of its spec when it was admitted or last resized.
// Nothing in it may be changed.
type Allocation struct {
	Pod        *corev1.ResourceRequirements           `json:"pod,omitempty"`
	Containers map[string]corev1.ResourceRequirements `json:"containers"`
}

// Of grants a pod all that it asks for.
func Of(pod *corev1.Pod) *Allocation {
	a := &Allocation{Pod: pod.Spec.Resources.DeepCopy(), Containers: map[string]corev1.ResourceRequirements{}}
	for _, c := range containers(pod) {
		a.Containers[c.Name] = *c.Resources.DeepCopy()
	}
	return a
}

// Apply is the pod with the resources it is granted: the same pod when it asks for no others, else a copy.
func (a *Allocation) Apply(pod *corev1.Pod) *corev1.Pod {
	if a.grants(pod) {
		return pod
	}
	pod = pod.DeepCopy()
	pod.Spec.Resources = a.Pod.DeepCopy()
	for _, c := range containers(pod) {
		if granted, ok := a.Containers[c.Name]; ok {
			c.Resources = *granted.DeepCopy()
		}
	}
	return pod
}

func (a *Allocation) grants(pod *corev1.Pod) bool {
	if !equality.Semantic.DeepEqual(a.Pod, pod.Spec.Resources) {
		return false
	}
	for _, c := range containers(pod) {
		if granted, ok := a.Containers[c.Name]; ok && !equality.Semantic.DeepEqual(granted, c.Resources) {
			return false
		}
	}
	return true
}

// containers lists those that can be resized: all but ephemeral ones.
func containers(pod *corev1.Pod) []*corev1.Container {
	out := make([]*corev1.Container, 0, len(pod.Spec.InitContainers)+len(pod.Spec.Containers))
	for i := range pod.Spec.InitContainers {
		out = append(out, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		out = append(out, &pod.Spec.Containers[i])
	}
	return out
}

const allocationFile = "allocation.json"

// Save keeps the allocation in the pod's folder, which it makes. A pod has the file only while it asks for something
// else than it is granted, so it must be there before such a version of the pod is kept.
func Save(dir string, a *Allocation) error {
	data, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("keeping the allocation: %w", err)
	}
	path := filepath.Join(dir, allocationFile)
	if err = os.MkdirAll(dir, 0o700); err == nil {
		err = file.Replace(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping the allocation: %w", err)
	}
	return nil
}

// Load gives the allocation that is kept in a pod's folder, nil when there is none.
func Load(dir string) (*Allocation, error) {
	data, err := os.ReadFile(filepath.Join(dir, allocationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	a := &Allocation{}
	if err == nil {
		err = json.Unmarshal(data, a)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the allocation: %w", err)
	}
	return a, nil
}

// Drop removes the kept allocation: the pod is granted what its kept version asks for.
func Drop(dir string) error {
	if err := os.Remove(filepath.Join(dir, allocationFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the allocation: %w", err)
	}
	return nil
}
