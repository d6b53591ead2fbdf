package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kubus.dev/cmd/kubus-keeper/spec"
	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/cmd/kubus/internal/preflight"
)

// detach starts the keeper and waits until the cluster is up, or says why not.
func detach(ctx context.Context, s streams, i *instance.Instance, b banner) error {
	if err := startKeeper(i); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, detachLimit-time.Since(b.began))
	defer cancel()
	if err := waitUp(limited, i); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted; the cluster goes on starting, `kubus down` stops it")
		}
		return notUp(i, err)
	}
	b.print(s.out)
	return nil
}

// notUp explains, from the logs, why the cluster did not come up in time.
func notUp(i *instance.Instance, err error) error {
	var text strings.Builder
	fmt.Fprintf(&text, "not up after %s: %v", detachLimit, err)
	lines := lastErrors(i.LogDir(), 5)
	if len(lines) > 0 {
		text.WriteString("\nThe last errors in " + i.LogDir() + " are:\n  ")
		text.WriteString(strings.Join(lines, "\n  "))
	}
	text.WriteString("\nIt goes on trying; `kubus status` tells how it is, `kubus down` stops it.")
	return errors.New(text.String())
}

// writeSpec writes what is to be kept.
func writeSpec(i *instance.Instance) (file string, err error) {
	processes, err := processes(i)
	if err != nil {
		return "", err
	}
	data, err := json.MarshalIndent(spec.Spec{RunDir: i.RunDir(), LogDir: i.LogDir(), Processes: processes}, "", "  ")
	if err != nil {
		return "", err
	}
	file = i.Path("keeper.json")
	return file, instance.WriteFile(file, append(data, '\n'), 0o600)
}

// startKeeper writes what is to be kept and starts the keeper in a session of its own.
func startKeeper(i *instance.Instance) error {
	file, err := writeSpec(i)
	if err != nil {
		return err
	}
	keeper, err := preflight.FindTool("kubus-keeper")
	if err != nil {
		return errors.New("kubus-keeper is not beside kubus: `make build` builds it")
	}
	log, err := os.OpenFile(filepath.Join(i.LogDir(), "keeper.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the keeper's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(keeper, "-spec", file)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the keeper: %w", err)
	}
	return cmd.Process.Release()
}

// lastErrors gives the last lines at level ERROR, or of a Go panic, of all logs.
func lastErrors(dir string, most int) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	var lines []string
	for _, file := range files {
		data, err := tail(file, 64<<10)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(data) {
			text := strings.TrimSpace(string(line))
			if strings.Contains(text, "\tERROR\t") || strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "kubus: ") {
				lines = append(lines, strings.TrimSuffix(filepath.Base(file), ".log")+": "+strings.ReplaceAll(text, "\t", " "))
			}
		}
	}
	return lines[max(0, len(lines)-most):]
}

func tail(file string, most int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(most, info.Size()))
	n, err := f.ReadAt(data, max(0, info.Size()-most))
	if n == len(data) {
		err = nil
	}
	return data[:n], err
}

// awaitEnd waits until a process that is not our child has ended.
func awaitEnd(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("waiting for process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	for {
		left := time.Second
		if deadline, ok := ctx.Deadline(); ok {
			left = min(left, time.Until(deadline))
		}
		if ctx.Err() != nil || left <= 0 {
			return fmt.Errorf("process %d did not end in time", pid)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for process %d: %w", pid, err)
		}
	}
}
