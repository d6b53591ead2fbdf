package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"kubus.dev/cmd/kubus-keeper/spec"
)

// InUseError names the process that works in a data directory.
type InUseError struct {
	Dir string
	PID int
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("the data directory %s is in use by process %d: stop it with `kubus down --data-dir %s`, or choose another --data-dir", e.Dir, e.PID, e.Dir)
}

// Lock takes the data directory for this process; it is released by the returned
// file's Close, or by the kernel when the process ends. Errors: *InUseError.
func Lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &InUseError{dir, holder(f)}
		}
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	return f, nil
}

func holder(f *os.File) int {
	data := make([]byte, 32)
	n, _ := f.ReadAt(data, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data[:n])))
	return pid
}

// User gives the pid of the process that works in a data directory, 0 for none:
// the active keeper, or else whoever holds the lock.
func User(dir string) (pid int, kept bool, err error) {
	keeper, err := spec.Active(filepath.Join(dir, "run"))
	if err != nil {
		return 0, false, fmt.Errorf("looking for the keeper: %w", err)
	}
	if keeper != nil {
		return keeper.PID, true, nil
	}
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("looking at the lock: %w", err)
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0, false, nil
	}
	return holder(f), false, nil
}
