package preflight

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// port tells whether a TCP address can be listened on, and who has it if not.
func port(address string) *Problem {
	l, err := net.Listen("tcp", address)
	if err == nil {
		_ = l.Close()
		return nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		_, text, _ := net.SplitHostPort(address)
		n, _ := strconv.Atoi(text)
		return &Problem{fmt.Sprintf("port %d of %s is taken by %s", n, address, Owner(n)), "stop that, or choose another --listen"}
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return &Problem{fmt.Sprintf("%s is no address of this machine", address), "choose another --listen"}
	}
	if errors.Is(err, syscall.EACCES) {
		return &Problem{fmt.Sprintf("this user may not listen on %s", address), "choose a port above 1023, or call it with sudo"}
	}
	return &Problem{fmt.Sprintf("listening on %s: %v", address, err), "choose another --listen"}
}

// Owner names the process that listens on a TCP port, as far as we may see.
func Owner(port int) string {
	inodes := map[string]bool{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(file)
		if err == nil {
			listeners(string(data), port, inodes)
		}
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil {
			continue
		}
		inode, ok := strings.CutPrefix(target, "socket:[")
		if !ok || !inodes[strings.TrimSuffix(inode, "]")] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
	}
	return "a process that this user may not see"
}

// listeners collects the inodes of the sockets that listen on a port from the text
// of /proc/net/tcp.
func listeners(table string, port int, inodes map[string]bool) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		const local, state, inode, listen = 1, 3, 9, "0A"
		if len(fields) <= inode || fields[state] != listen {
			continue
		}
		_, text, ok := strings.Cut(fields[local], ":")
		if n, err := strconv.ParseInt(text, 16, 32); ok && err == nil && int(n) == port {
			inodes[fields[inode]] = true
		}
	}
}
