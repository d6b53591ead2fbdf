package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safeSysctls belong to one pod and disturb no other: every pod may set them.
var safeSysctls = []string{
	"kernel.shm_rmid_forced",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ping_group_range",
	"net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_notsent_lowat",
	"net.ipv4.tcp_rmem",
	"net.ipv4.tcp_slow_start_after_idle",
	"net.ipv4.tcp_syncookies",
	"net.ipv4.tcp_wmem",
}

// AdmitSysctls tells in kubelet's words why a pod may not set a sysctl; "" admits
// it. Unsafe ones are allowed by name, or by a prefix that ends in '*'.
func AdmitSysctls(pod *corev1.Pod, unsafe []string) string {
	if pod.Spec.SecurityContext == nil {
		return ""
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := SysctlName(s.Name)
		if !sysctlAllowed(name, unsafe) {
			return fmt.Sprintf("forbidden sysctl: %q not allowlisted", name)
		}
		switch space := SysctlNamespace(name); {
		case space == "net" && pod.Spec.HostNetwork, space == "ipc" && pod.Spec.HostIPC:
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, space)
		}
	}
	return ""
}

func sysctlAllowed(name string, unsafe []string) bool {
	for _, safe := range safeSysctls {
		if name == safe {
			return true
		}
	}
	for _, allowed := range unsafe {
		prefix, pattern := strings.CutSuffix(SysctlName(allowed), "*")
		if name == prefix || pattern && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// SysctlName is a name with dots between its parts. When the first separator is a
// slash, slashes separate and dots belong to the parts.
func SysctlName(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '.' {
		return name
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, name)
}

// SysctlNamespace is the kind of namespace that a sysctl or a pattern of them
// belongs to, "net" or "ipc"; "" is the node's.
func SysctlNamespace(name string) string {
	for prefix, space := range map[string]string{
		"net.": "net", "fs.mqueue.": "ipc", "kernel.msg": "ipc", "kernel.sem": "ipc", "kernel.shm": "ipc",
	} {
		if strings.HasPrefix(name, prefix) {
			return space
		}
	}
	return ""
}
