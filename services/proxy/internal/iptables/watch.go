package iptables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Events of nf_tables: each transaction ends with a "new generation" that names
// its process (linux/netfilter/nf_tables.h).
const (
	groupTables    = 7  // NFNLGRP_NFTABLES
	newGeneration  = 15 // NFT_MSG_NEWGEN
	attrGenProcess = 2  // NFTA_GEN_PROC_PID
)

// Watch is Events for the rules of iptables. The legacy variant tells nobody of its
// changes: there Watch only waits.
func (t *Tool) Watch(ctx context.Context, changed func()) error {
	if t.Mode != "nf_tables" {
		<-ctx.Done()
		return nil
	}
	return t.Events(ctx, changed)
}

// Ran says that a process that writes to nf_tables is ours.
func (t *Tool) Ran(pid int) { t.own.add(pid) }

// Events calls changed after each change of nf_tables in the calling thread's network
// namespace that none of our own commands made, and when it missed some. It ends with ctx.
func (t *Tool) Events(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "nf_tables events")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupTables - 1)}); err != nil {
		return errors.Join(fmt.Errorf("listening for changes of nf_tables: %w", err), socket.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	defer stop()
	defer socket.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := socket.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // our own transactions are large, too; looking is cheap beside them
			changed()
		case err != nil:
			return fmt.Errorf("listening for changes of nf_tables: %w", err)
		case t.foreign(buf[:n]):
			changed()
		}
	}
}

// foreign tells whether a datagram ends a transaction of somebody else.
func (t *Tool) foreign(data []byte) bool {
	for len(data) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(data))
		if size < unix.SizeofNlMsghdr || size > len(data) {
			return false
		}
		if binary.NativeEndian.Uint16(data[4:]) == unix.NFNL_SUBSYS_NFTABLES<<8|newGeneration {
			if pid, ok := process(data[unix.SizeofNlMsghdr:size]); !ok || !t.own.has(pid) {
				return true
			}
		}
		data = data[min((size+3)&^3, len(data)):]
	}
	return false
}

// process finds the process in a generation's attributes.
func process(body []byte) (int, bool) {
	const header = 4 // nfgenmsg
	if len(body) < header {
		return 0, false
	}
	for body = body[header:]; len(body) >= 4; {
		size := int(binary.NativeEndian.Uint16(body))
		if size < 4 || size > len(body) {
			return 0, false
		}
		if binary.NativeEndian.Uint16(body[2:]) == attrGenProcess && size >= 8 {
			return int(binary.BigEndian.Uint32(body[4:])), true
		}
		body = body[min((size+3)&^3, len(body)):]
	}
	return 0, false
}

// recent remembers the last processes that were started.
type recent struct {
	mu   sync.Mutex
	pids [32]int
	next int
}

func (r *recent) add(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pids[r.next%len(r.pids)] = pid
	r.next++
}

func (r *recent) has(pid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pids {
		if p == pid {
			return true
		}
	}
	return false
}
