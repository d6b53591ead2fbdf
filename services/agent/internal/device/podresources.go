package device

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// lister is upstream's API for monitors of devices (k8s.io/kubelet/pkg/apis/podresources/v1): which container has which.
type lister struct {
	podresources.UnimplementedPodResourcesListerServer
	m *Manager
}

// List implements the API.
func (l *lister) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	answer := &podresources.ListPodResourcesResponse{}
	for _, pod := range l.m.Pods() {
		answer.PodResources = append(answer.PodResources, l.m.resourcesOf(pod))
	}
	return answer, nil
}

// Get implements the API.
func (l *lister) Get(_ context.Context, r *podresources.GetPodResourcesRequest) (*podresources.GetPodResourcesResponse, error) {
	for _, pod := range l.m.Pods() {
		if pod.Name == r.PodName && pod.Namespace == r.PodNamespace {
			return &podresources.GetPodResourcesResponse{PodResources: l.m.resourcesOf(pod)}, nil
		}
	}
	return nil, fmt.Errorf("pod %s in namespace %s not found", r.PodName, r.PodNamespace)
}

// GetAllocatableResources implements the API.
func (l *lister) GetAllocatableResources(context.Context, *podresources.AllocatableResourcesRequest) (*podresources.AllocatableResourcesResponse, error) {
	answer := &podresources.AllocatableResourcesResponse{}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	for name, r := range l.m.resources {
		for _, id := range r.healthy().sorted() {
			answer.Devices = append(answer.Devices, devicesOf(name, []string{id}, nodesOf(r.devices[id])))
		}
	}
	return answer, nil
}

func nodesOf(d *pluginapi.Device) (nodes []int64) {
	for _, n := range d.GetTopology().GetNodes() {
		nodes = append(nodes, n.ID)
	}
	return nodes
}

func devicesOf(resource string, ids []string, nodes []int64) *podresources.ContainerDevices {
	d := &podresources.ContainerDevices{ResourceName: resource, DeviceIds: ids}
	if len(nodes) > 0 {
		d.Topology = &podresources.TopologyInfo{}
		for _, n := range nodes {
			d.Topology.Nodes = append(d.Topology.Nodes, &podresources.NUMANode{ID: n})
		}
	}
	return d
}

// resourcesOf lists what a pod's containers have, without init containers, which will have ended.
func (m *Manager) resourcesOf(pod *corev1.Pod) *podresources.PodResources {
	out := &podresources.PodResources{Name: pod.Name, Namespace: pod.Namespace}
	m.mu.Lock()
	defer m.mu.Unlock()
	for at, c := range containersOf(pod) {
		if at < len(pod.Spec.InitContainers) && !restartable(c) {
			continue
		}
		one := &podresources.ContainerResources{Name: c.Name}
		for name, a := range m.pods[pod.UID][c.Name] {
			for _, id := range a.Devices {
				one.Devices = append(one.Devices, devicesOf(name, []string{id}, a.Nodes[id]))
			}
		}
		slices.SortFunc(one.Devices, func(a, b *podresources.ContainerDevices) int {
			return slices.Compare([]string{a.ResourceName, a.DeviceIds[0]}, []string{b.ResourceName, b.DeviceIds[0]})
		})
		out.Containers = append(out.Containers, one)
	}
	return out
}
