package shim

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// InitCommand makes the shim's program the first process of a pod's shared process namespace.
const InitCommand = "init"

// Init is the first process of a pod's shared process namespace: it reaps what is left to it until the shim, which
// holds the other end of its standard input, is gone. Everything in the namespace ends with it.
func Init() {
	// What the kernel spares the first process, Go's runtime would end itself by.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGPIPE, syscall.SIGTERM)
	go func() {
		var none [1]byte
		for {
			if n, err := syscall.Read(0, none[:]); n == 0 && err == nil || err != nil && err != syscall.EINTR {
				os.Exit(0)
			}
		}
	}()
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for range children {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err != unix.EINTR && (err != nil || pid <= 0) {
				break
			}
		}
	}
}
