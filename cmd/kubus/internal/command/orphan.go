package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"kubus.dev/cmd/kubus-keeper/spec"
	"kubus.dev/cmd/kubus/internal/instance"
)

// orphans lists the kept processes that still run although no keeper does: both
// keepers were killed at once.
func orphans(i *instance.Instance) (map[string]spec.Record, error) {
	keeper, err := spec.Active(i.RunDir())
	if err != nil || keeper != nil {
		return nil, err
	}
	list, err := spec.Load(i.Path("keeper.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	alive := map[string]spec.Record{}
	for _, p := range list.Processes {
		r, err := spec.ReadRecord(spec.RecordFile(i.RunDir(), p.Name))
		if err != nil {
			return nil, err
		}
		if r != nil && r.Alive() {
			alive[p.Name] = *r
		}
	}
	return alive, nil
}

// stopOrphans ends them in the reverse order of their start.
func stopOrphans(ctx context.Context, i *instance.Instance) error {
	alive, err := orphans(i)
	if err != nil || len(alive) == 0 {
		return err
	}
	list, err := spec.Load(i.Path("keeper.json"))
	if err != nil {
		return err
	}
	for n := len(list.Processes) - 1; n >= 0; n-- {
		p := list.Processes[n]
		r, ok := alive[p.Name]
		if !ok {
			continue
		}
		if err := end(ctx, r.PID, p.StopTimeout()); err != nil {
			return fmt.Errorf("stopping %s: %w", p.Name, err)
		}
		if err := os.Remove(spec.RecordFile(i.RunDir(), p.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// end asks a process to end, and kills it when it takes too long.
func end(ctx context.Context, pid int, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return ignoreGone(err)
	}
	if awaitEnd(limited, pid) == nil {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return ignoreGone(err)
	}
	return awaitEnd(ctx, pid)
}

func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
