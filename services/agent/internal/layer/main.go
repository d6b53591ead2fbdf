package layer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Command is the first argument of a program that is to run Main, the second is an Order.
const Command = "unpack"

// order is what the process is told.
type order struct {
	Diff   string `json:"diff"` // SHA-256 of the tar, in hex
	Limits Limits `json:"limits"`
}

// outcome is what it answers.
type outcome struct {
	Info  *Info  `json:"info,omitempty"`
	Error string `json:"error,omitempty"`
	Full  bool   `json:"full,omitempty"` // the error is ErrDiskFull
}

// resultFD is where the outcome goes.
const resultFD = 3

// maxMemory bounds the process: a zstd window, the names of folders and room for a collector.
const maxMemory = 512 << 20

// Main unpacks the blob on standard input into the folder fs of the working folder and ends the process.
func Main(arg string) {
	answer := outcome{}
	info, err := work(arg)
	if err != nil {
		answer.Error, answer.Full = err.Error(), errors.Is(err, ErrDiskFull) || errors.Is(err, unix.ENOSPC)
	} else {
		answer.Info = info
	}
	if json.NewEncoder(os.NewFile(resultFD, "result")).Encode(answer) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func work(arg string) (*Info, error) {
	var o order
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		return nil, fmt.Errorf("reading the order: %w", err)
	}
	if err := confine(); err != nil {
		return nil, fmt.Errorf("giving up rights: %w", err)
	}
	return unpackBlob(os.Stdin, "/fs", o.Diff, o.Limits)
}

// kept are the capabilities that making other people's files takes; SYS_ADMIN is for overlayfs' attributes.
const kept = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_MKNOD |
	1<<unix.CAP_SETFCAP | 1<<unix.CAP_SYS_ADMIN

// confine takes from the process what it does not need: all files but those below its folder, memory, capabilities.
func confine() error {
	debug.SetMemoryLimit(maxMemory * 3 / 4)
	unix.Umask(0)
	for resource, limit := range map[int]uint64{unix.RLIMIT_DATA: maxMemory, unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: 1024} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return err
		}
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		mask := uint32(uint64(kept) >> (32 * i))
		data[i] = unix.CapUserData{Effective: data[i].Effective & mask, Permitted: data[i].Permitted & mask}
	}
	if err := onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return err
	}
	return onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])))
}

// onAllThreads makes a system call on every thread. A program with cgo cannot; only tests have it.
func onAllThreads(trap, a, b uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(trap, a, b, 0); errno != 0 && errno != syscall.ENOTSUP {
		return errno
	}
	return nil
}
