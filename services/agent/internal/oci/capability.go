package oci

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// known lists the kernel's capabilities by number.
var known = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID CAP_SETPCAP
	CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE
	CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME
	CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG
	CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)

// ordinaryCapabilities are what a container has when nothing is said.
var ordinaryCapabilities = strings.Fields(`CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_MKNOD
	CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT`)

// Bounding is this process's bounding set: what no child can ever exceed.
func Bounding() ([]string, error) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		hex, ok := strings.CutPrefix(line, "CapBnd:")
		if !ok {
			continue
		}
		mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		if err != nil {
			return nil, err
		}
		var have []string
		for bit, name := range known {
			if mask&(1<<bit) != 0 {
				have = append(have, name)
			}
		}
		return have, nil
	}
	return nil, fmt.Errorf("no CapBnd in /proc/self/status")
}

// capabilities applies a container's wishes to the ordinary set, within what the node itself may hand on.
func capabilities(add, drop []string, privileged bool, bounding []string) ([]string, error) {
	if privileged {
		return slices.Clone(bounding), nil
	}
	set := map[string]bool{}
	for _, c := range ordinaryCapabilities {
		set[c] = true
	}
	add, addAll, err := fullNames(add)
	if err != nil {
		return nil, err
	}
	drop, dropAll, err := fullNames(drop)
	if err != nil {
		return nil, err
	}
	if dropAll {
		clear(set)
	}
	if addAll {
		for _, c := range known {
			set[c] = true
		}
	}
	for _, c := range add {
		set[c] = true
	}
	for _, c := range drop {
		delete(set, c)
	}
	return slices.DeleteFunc(slices.Clone(bounding), func(c string) bool { return !set[c] }), nil
}

func fullNames(short []string) (full []string, all bool, err error) {
	for _, s := range short {
		name := strings.ToUpper(s)
		if name == "ALL" {
			all = true
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if !slices.Contains(known, name) {
			return nil, false, fmt.Errorf("unknown capability %q", s)
		}
		full = append(full, name)
	}
	return full, all, nil
}
