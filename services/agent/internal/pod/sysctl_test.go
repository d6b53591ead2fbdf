package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestAdmitSysctls(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spec    corev1.PodSpec
		sysctls []string
		unsafe  []string
		want    string
	}{
		"none":                            {},
		"a safe one":                      {sysctls: []string{"net.ipv4.tcp_syncookies"}},
		"a safe one with slashes":         {sysctls: []string{"kernel/shm_rmid_forced"}},
		"an unsafe one":                   {sysctls: []string{"kernel.shm_rmid_forced", "kernel.msgmax"}, want: `forbidden sysctl: "kernel.msgmax" not allowlisted`},
		"an unsafe one that is allowed":   {sysctls: []string{"kernel.msgmax"}, unsafe: []string{"kernel.msgmax"}},
		"one that a pattern allows":       {sysctls: []string{"net.core.somaxconn"}, unsafe: []string{"net.core.*"}},
		"a name is no pattern":            {sysctls: []string{"net.core.somaxconn"}, unsafe: []string{"net.core."}, want: `forbidden sysctl: "net.core.somaxconn" not allowlisted`},
		"the node's network":              {spec: corev1.PodSpec{HostNetwork: true}, sysctls: []string{"net.ipv4.tcp_syncookies"}, want: `forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled`},
		"the node's IPC":                  {spec: corev1.PodSpec{HostIPC: true}, sysctls: []string{"kernel.shm_rmid_forced"}, want: `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled`},
		"IPC beside the node's network":   {spec: corev1.PodSpec{HostNetwork: true}, sysctls: []string{"kernel.shm_rmid_forced"}},
		"a link whose name contains dots": {sysctls: []string{"net/ipv4/conf/eth0.1/forwarding"}, want: `forbidden sysctl: "net.ipv4.conf.eth0/1.forwarding" not allowlisted`},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: c.spec}
			if len(c.sysctls) > 0 {
				pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
			}
			for _, s := range c.sysctls {
				pod.Spec.SecurityContext.Sysctls = append(pod.Spec.SecurityContext.Sysctls, corev1.Sysctl{Name: s, Value: "1"})
			}
			if got := AdmitSysctls(pod, c.unsafe); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
