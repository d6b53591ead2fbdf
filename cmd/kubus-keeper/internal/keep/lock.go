package keep

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"time"

	"kubus.dev/cmd/kubus-keeper/spec"
)

// acquire blocks in the kernel until the lock is ours; nil when ctx ended first.
// The kernel gives the lock back when its holder dies, however it dies. A holder
// that stops in order removes the file, so what was locked may be no longer the
// file of that name: then there is nothing left to keep, which ctx will say.
func acquire(ctx context.Context, file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the keeper's lock: %w", err)
	}
	locked := make(chan error, 1)
	go func() { // ends with the lock, or with the process
		for {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
			if err != syscall.EINTR {
				locked <- err
				return
			}
		}
	}()
	select {
	case err = <-locked:
	case <-ctx.Done():
		return nil, nil
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", file, err)
	}
	held, err1 := f.Stat()
	named, err2 := os.Stat(file)
	if err1 != nil || err2 != nil || !os.SameFile(held, named) {
		f.Close()
		return nil, nil
	}
	return f, nil
}

// recordSelf writes the active keeper's record into the lock file.
func recordSelf(lock *os.File) error {
	start, _ := spec.StartTime(os.Getpid())
	data, err := json.Marshal(spec.Record{PID: os.Getpid(), Start: start, Since: time.Now()})
	if err != nil {
		return err
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err = lock.WriteAt(data, 0)
	return err
}
