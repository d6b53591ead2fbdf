package device

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"kubus.dev/services/agent/internal/runtime"
)

// Given is what a container gets for its devices, ordered as the plugins gave it, resource by resource.
type Given struct {
	Env         []string // NAME=value
	Mounts      []runtime.Mount
	Devices     []runtime.Device
	Annotations map[string]string
	CDI         []string // qualified names of devices of the Container Device Interface
}

// combine puts the answers for several resources together; of what two of them name the first counts, as with kubelet.
func combine(all []*Allocation, log *zap.Logger) *Given {
	g := &Given{Annotations: map[string]string{}}
	seen := map[string]string{}
	first := func(kind, name, value string) bool {
		had, again := seen[kind+name]
		if !again {
			seen[kind+name] = value
		} else if had != value {
			log.Error("device plugins contradict each other", zap.String("setting", kind+name), zap.String("first", had), zap.String("ignored", value))
		}
		return !again
	}
	for _, a := range all {
		r := a.Response
		for _, name := range slices.Sorted(maps.Keys(r.Envs)) {
			if first("environment ", name, r.Envs[name]) {
				g.Env = append(g.Env, name+"="+r.Envs[name])
			}
		}
		for _, d := range r.Devices {
			if first("device ", d.ContainerPath, d.HostPath) {
				g.Devices = append(g.Devices, runtime.Device{HostPath: d.HostPath, ContainerPath: d.ContainerPath, Permissions: d.Permissions})
			}
		}
		for _, m := range r.Mounts {
			if first("mount ", m.ContainerPath, m.HostPath) {
				g.Mounts = append(g.Mounts, runtime.Mount{HostPath: m.HostPath, ContainerPath: m.ContainerPath, ReadOnly: m.ReadOnly})
			}
		}
		for name, value := range r.Annotations {
			if first("annotation ", name, value) {
				g.Annotations[name] = value
			}
		}
		for _, d := range r.CdiDevices {
			if first("CDI ", d.Name, d.Name) {
				g.CDI = append(g.CDI, d.Name)
			}
		}
	}
	return g
}

// Allocation is what a container has of one resource, and what the plugin said to give it.
type Allocation struct {
	Devices  []string                             // ids, sorted
	Nodes    map[string][]int64                   // NUMA nodes of devices that say theirs
	Response *pluginapi.ContainerAllocateResponse // not nil
}
