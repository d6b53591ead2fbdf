package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"kubus.dev/services/kit/file"
)

// kept is the file: what is allocated, and which resources plugins had, so that a pod that asks for one before its
// plugin is back is not run without.
type kept struct {
	Resources []string    `json:"resources"`
	Entries   []keptEntry `json:"entries"`
}

type keptEntry struct {
	Pod       types.UID          `json:"pod"`
	Container string             `json:"container"`
	Resource  string             `json:"resource"`
	Devices   []string           `json:"devices"`
	Nodes     map[string][]int64 `json:"nodes,omitempty"`
	Response  []byte             `json:"response"` // ContainerAllocateResponse
}

func (m *Manager) save() error {
	m.mu.Lock()
	defer m.mu.Unlock() // so that an older state never overwrites a newer one
	k := kept{Resources: slices.Sorted(maps.Keys(m.resources)), Entries: []keptEntry{}}
	for uid, pod := range m.pods {
		for name, resources := range pod {
			for r, a := range resources {
				response, err := proto.Marshal(a.Response)
				if err != nil {
					return fmt.Errorf("keeping the allocation of devices: %w", err)
				}
				k.Entries = append(k.Entries, keptEntry{uid, name, r, a.Devices, a.Nodes, response})
			}
		}
	}
	data, err := json.Marshal(k)
	if err == nil {
		err = file.Replace(m.File, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keeping the allocation of devices: %w", err)
	}
	return nil
}

func (m *Manager) load() error {
	data, err := os.ReadFile(m.File)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(data, &k)
	}
	if err != nil {
		return fmt.Errorf("reading what devices pods have: %w", err)
	}
	for _, name := range k.Resources {
		m.resources[name] = &resourceState{since: m.now()}
	}
	for _, e := range k.Entries {
		response := &pluginapi.ContainerAllocateResponse{}
		if err := proto.Unmarshal(e.Response, response); err != nil {
			return fmt.Errorf("reading what devices pods have: %w", err)
		}
		if m.pods[e.Pod] == nil {
			m.pods[e.Pod] = containers{}
		}
		if m.pods[e.Pod][e.Container] == nil {
			m.pods[e.Pod][e.Container] = map[string]*Allocation{}
		}
		m.pods[e.Pod][e.Container][e.Resource] = &Allocation{e.Devices, e.Nodes, response}
	}
	return nil
}
