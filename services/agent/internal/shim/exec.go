package shim

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"kubus.dev/services/agent/internal/cgroup"
)

var execCount atomic.Uint64 // makes the names of an exec's files

// exec runs a process in a container: it answers once when the process runs and once when it has ended. A Signal
// request on the same connection is sent to the process, with All to everything that it has started.
func (s *server) exec(conn *Conn, req *Request, passed *files) error {
	x := req.Exec
	if x == nil || strings.Contains(x.Process, "..") {
		return &Error{KindInternal, "incomplete exec request"}
	}
	defer os.Remove(x.Process)
	c, err := s.container(req.ID)
	if err != nil {
		return err
	}
	if !c.snapshot().Running {
		return &Error{KindNotRunning, "container is not running"}
	}
	name := "x" + strconv.FormatUint(execCount.Add(1), 10)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	theirs := [3]int{int(null.Fd()), int(null.Fd()), int(null.Fd())}
	var stdio []*os.File
	for i, wanted := range []bool{x.Stdin, x.Stdout, x.Stderr} {
		if f := passed.take(wanted); f != nil {
			stdio = append(stdio, f)
			theirs[i] = int(f.Fd())
		}
	}
	closeStdio := func() {
		for _, f := range stdio {
			f.Close()
		}
		stdio = nil
	}
	defer closeStdio()
	args := []string{"exec", "--detach", "--pid-file", name, "--process", x.Process}
	var term *console
	if x.TTY {
		if term, err = listenConsole(name + ".con"); err != nil {
			return err
		}
		defer term.close()
		args = append(args, "--console-socket", term.path)
	}
	done := s.reap.expect()
	pid, err := s.callRuntime(c.req.Runtime, ".", append(args, c.id), theirs)
	if err != nil {
		done()
		return err
	}
	ended := s.reap.claim(pid)
	done()
	closeStdio() // the process holds its own copies
	if term == nil {
		err = conn.Send(Reply{PID: pid})
	} else {
		var master *os.File
		if master, err = term.receive(); err != nil {
			s.killTree(c, pid)
			return err
		}
		raw, rawErr := master.SyscallConn()
		if rawErr == nil {
			_ = raw.Control(func(fd uintptr) { err = conn.Send(Reply{PID: pid}, int(fd)) })
		}
		master.Close()
	}
	if err == nil {
		go s.execSignals(conn, c, pid) // ends when the connection does
	} else { // who asked has given up meanwhile
		s.killTree(c, pid)
	}
	status := <-ended
	code := status.ExitStatus()
	if status.Signaled() {
		code = 128 + int(status.Signal())
	}
	_ = conn.Send(Reply{PID: pid, Exit: &code})
	return nil
}

func (s *server) execSignals(conn *Conn, c *container, pid int) {
	for {
		var req Request
		fds, err := conn.Recv(&req)
		adopt(fds).close()
		if err != nil {
			return
		}
		if req.All {
			s.killTree(c, pid)
		} else {
			_ = s.reap.signal(pid, syscall.Signal(req.Signal))
		}
	}
}

// killTree kills a process of a container with its session and descendants, who share the container's cgroup.
func (s *server) killTree(c *container, pid int) {
	for range 3 { // what forked meanwhile is found the next time
		victims := map[int]bool{}
		all := cgroup.Processes(c.req.Cgroups)
		for grown := true; grown; {
			grown = false
			for _, p := range all {
				parent, session := lineage(p)
				if !victims[p] && (p == pid || session == pid || victims[parent]) {
					victims[p], grown = true, true
				}
			}
		}
		if len(victims) == 0 {
			return
		}
		for p := range victims {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
	}
}

// lineage is a process's parent and session, zero when it is gone.
func lineage(pid int) (parent, session int) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // state ppid pgrp session
	if len(f) < 4 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(f[1])
	session, _ = strconv.Atoi(f[3])
	return parent, session
}
