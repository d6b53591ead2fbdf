// Package netns runs functions on threads of their own, which may go where the rest of the
// process does not: into other namespaces. It depends on the kernel alone, so that the
// smallest of programs can use it.
//
// Start with In, or with OnOwnThread for what needs more than one namespace.
package netns

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// OnOwnThread runs f on a thread that ends with it and returns when f has: never on the
// process's first, by which others see the process, and which could not end. What f starts
// on other threads is where the process is.
func OnOwnThread(f func() error) error {
	result := make(chan error, 1)
	go locked(func() { result <- f() }) // waited for below
	return <-result
}

func locked(f func()) {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() { // another thread, since the first is held here meanwhile
		defer close(done)
		locked(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

// Enter puts the calling thread, which must be one of its own, into the namespace that a
// file keeps, of whatever kind it is.
func Enter(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, 0); err != nil {
		return fmt.Errorf("entering namespace %s: %w", path, err)
	}
	return nil
}

// In runs f on a thread that is in the namespaces at paths. Sockets that f makes, and
// processes that it starts, stay in them.
func In(f func() error, paths ...string) error {
	return OnOwnThread(func() error {
		for _, path := range paths {
			if err := Enter(path); err != nil {
				return err
			}
		}
		return f()
	})
}
