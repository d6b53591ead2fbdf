package shim

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// console is a socket on which the OCI runtime hands over a terminal's master.
type console struct {
	path string
	fd   int
}

// listenConsole makes the socket; path is relative to the working folder, since a socket's path is short.
func listenConsole(path string) (*console, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(path)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := unix.Listen(fd, 1); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &console{path: path, fd: fd}, nil
}

// receive takes the master that a runtime which has already ended has sent.
func (c *console) receive() (*os.File, error) {
	limit := unix.NsecToTimeval(int64(5 * time.Second))
	_ = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	peer, _, err := unix.Accept4(c.fd, unix.SOCK_CLOEXEC)
	if err != nil {
		return nil, err
	}
	_ = unix.SetsockoptTimeval(peer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	defer unix.Close(peer)
	buf, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(peer, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) > 0 {
			if err := unix.SetNonblock(fds[0], true); err != nil {
				unix.Close(fds[0])
				return nil, err
			}
			return os.NewFile(uintptr(fds[0]), "console"), nil
		}
	}
	return nil, errors.New("the runtime sent no terminal")
}

func (c *console) close() {
	unix.Close(c.fd)
	_ = os.Remove(c.path)
}

func setSize(f *os.File, width, height uint16) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		ioctlErr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height})
	})
	if err != nil {
		return err
	}
	return ioctlErr
}
