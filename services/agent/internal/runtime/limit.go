package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"kubus.dev/services/agent/internal/cgroup"
)

// LimitPods bounds all pods of the node together: whatever each may have, what else runs on the node survives them.
// memory is in bytes; zero sets no limit.
func (n *Node) LimitPods(memory, pids int64) error {
	if err := cgroup.Limit(n.opts.cgroupRoot(), cgroup.Limits{MemoryLimit: memory, PidsLimit: pids}); err != nil {
		return fmt.Errorf("limiting the pods' cgroup: %w", err)
	}
	return nil
}

// Protect asks the kernel to end this process, and the shims that it starts, last when memory is short. A process that
// may not ask stays as it is.
func Protect() error {
	err := os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("protecting the agent from the OOM killer: %w", err)
	}
	return nil
}
