package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"kubus.dev/services/agent/internal/cgroup"
)

// The cgroups are written directly, as are pods' own: it is the same for every OCI runtime, takes no process, and none
// of them reads its own note of limits again for a container that runs.

// ResizeContainer implements Runtime.
func (n *Node) ResizeContainer(_ context.Context, id string, r Resources, labels map[string]string) error {
	c, err := n.container(id)
	if err != nil {
		return err
	}
	c.sizing.Lock()
	defer c.sizing.Unlock()
	if c.view().State != ContainerRunning {
		return ErrNotRunning
	}
	if err := resizeGroup(c.record.Cgroup, r); err != nil {
		if c.view().State != ContainerRunning { // its end takes the group away
			return ErrNotRunning
		}
		return fmt.Errorf("resizing container %s: %w", c.record.Spec.Name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.record.Spec.Resources
	c.record.Spec.Resources.CPUShares, c.record.Spec.Resources.CPUQuota, c.record.Spec.Resources.CPUPeriod = r.CPUShares, r.CPUQuota, r.CPUPeriod
	c.record.Spec.Resources.MemoryLimit = r.MemoryLimit
	old := c.record.Spec.Labels
	merged := make(map[string]string, len(old)+len(labels)) // readers hold the old map
	maps.Copy(merged, old)
	maps.Copy(merged, labels)
	c.record.Spec.Labels = merged
	if err := c.save(); err != nil {
		c.record.Spec.Resources, c.record.Spec.Labels = was, old
		return fmt.Errorf("resizing container %s: %w", c.record.Spec.Name, err)
	}
	return nil
}

// PlaceContainer implements Runtime.
func (n *Node) PlaceContainer(_ context.Context, id, cpus string) error {
	c, err := n.container(id)
	if err != nil {
		return err
	}
	c.sizing.Lock()
	defer c.sizing.Unlock()
	if c.view().State != ContainerRunning {
		return ErrNotRunning
	}
	if err := cgroup.Place(c.record.Cgroup, cpus); err != nil {
		if c.view().State != ContainerRunning { // its end takes the group away
			return ErrNotRunning
		}
		return fmt.Errorf("moving container %s to CPUs %s: %w", c.record.Spec.Name, cpus, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.record.Spec.Resources.CpusetCpus
	c.record.Spec.Resources.CpusetCpus = cpus
	if err := c.save(); err != nil {
		c.record.Spec.Resources.CpusetCpus = was
		return fmt.Errorf("moving container %s to CPUs %s: %w", c.record.Spec.Name, cpus, err)
	}
	return nil
}

// ResizeSandbox implements Runtime.
func (n *Node) ResizeSandbox(_ context.Context, id string, r Resources) error {
	s, err := n.sandbox(id)
	if err != nil {
		return err
	}
	s.work.Lock()
	defer s.work.Unlock()
	if s.view().State != SandboxReady {
		return ErrNotRunning
	}
	if err := resizeGroup(s.record.Cgroup, r); err != nil {
		return fmt.Errorf("resizing the pod's cgroup: %w", err)
	}
	next := s.resources()
	next.CPUShares, next.CPUQuota, next.CPUPeriod, next.MemoryLimit = r.CPUShares, r.CPUQuota, r.CPUPeriod, r.MemoryLimit
	s.mu.Lock()
	s.record.Resized = &next
	s.mu.Unlock()
	return s.save()
}

// resizeGroup refuses what cgroup v2 would answer by killing.
func resizeGroup(path string, r Resources) error {
	if r.MemoryLimit > 0 {
		if used, err := cgroup.MemoryUsed(path); err == nil && used > r.MemoryLimit {
			return fmt.Errorf("memory limit %d is below current usage %d", r.MemoryLimit, used)
		}
	}
	return cgroup.Resize(path, limitsOf(r))
}

// MemoryUsed implements Runtime.
func (n *Node) MemoryUsed(id string) (int64, error) {
	path := ""
	c, err := n.container(id)
	if err == nil {
		path = c.record.Cgroup
	} else {
		s, err := n.sandbox(id)
		if err != nil {
			return 0, err
		}
		path = s.record.Cgroup
	}
	used, err := cgroup.MemoryUsed(path)
	if err != nil {
		return 0, errors.Join(ErrNotRunning, err)
	}
	return used, nil
}

// resources are the limits of the pod's cgroup as they were set last.
func (s *sandbox) resources() Resources {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resourcesLocked()
}

func (s *sandbox) resourcesLocked() Resources {
	if s.record.Resized != nil {
		return *s.record.Resized
	}
	return s.record.Spec.Resources
}

func limitsOf(r Resources) cgroup.Limits {
	return cgroup.Limits{CPUShares: r.CPUShares, CPUQuota: r.CPUQuota, CPUPeriod: r.CPUPeriod, MemoryLimit: r.MemoryLimit, PidsLimit: r.PidsLimit}
}
