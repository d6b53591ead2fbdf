package agent

import (
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/cpuset"

	"kubus.dev/services/agent/internal/cpus"
)

// cpuManager is nil where all containers share all CPUs.
func (c *Config) cpuManager(pods func() []*corev1.Pod) (*cpus.Manager, error) {
	if c.CPUManagerPolicy != cpuPolicyStatic {
		return nil, nil
	}
	topology, err := cpus.ReadTopology("/sys")
	if err != nil {
		return nil, err
	}
	reserved, err := cpuset.Parse(c.ReservedSystemCPUs)
	if err != nil {
		return nil, fmt.Errorf("reservedSystemCPUs: %w", err)
	}
	if reserved.IsEmpty() {
		list, err := c.reserved()
		if err != nil {
			return nil, err
		}
		if reserved, err = cpus.Reserve(topology, int(list.Cpu().Value())); err != nil { // a part of one is one
			return nil, fmt.Errorf("reserved.cpu: %w", err)
		}
	}
	return cpus.Open(cpus.Options{Topology: topology, Reserved: reserved, File: filepath.Join(c.DataDir, "agent", "cpus.json"), Pods: pods})
}
