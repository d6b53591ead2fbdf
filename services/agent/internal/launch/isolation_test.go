package launch

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/runtime"
)

func TestFinding8WhatAsksForIsolationThatIsNotThereIsRefused(t *testing.T) {
	t.Parallel()
	no, yes := false, true
	own := func(sc corev1.SecurityContext) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = &sc }
	}
	armor := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	for name, c := range map[string]struct {
		ask  func(*corev1.Pod)
		want string // reason and the beginning of the message; "" admits
	}{
		"nothing":                {func(*corev1.Pod) {}, ""},
		"the node's users":       {func(p *corev1.Pod) { p.Spec.HostUsers = &yes }, ""},
		"users of its own":       {func(p *corev1.Pod) { p.Spec.HostUsers = &no }, "UserNamespacesNotSupported: Cannot enforce hostUsers=false"},
		"no AppArmor profile":    {own(corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}}), ""},
		"a container's AppArmor": {own(corev1.SecurityContext{AppArmorProfile: armor}), "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host"},
		"the pod's AppArmor":     {func(p *corev1.Pod) { p.Spec.SecurityContext = &corev1.PodSecurityContext{AppArmorProfile: armor} }, "AppArmor: "},
		"AppArmor by annotation": {func(p *corev1.Pod) {
			p.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/c": "runtime/default"}
		}, "AppArmor: "},
		"an annotation for none": {func(p *corev1.Pod) {
			p.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}
		}, ""},
		"an SELinux label": {own(corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "container_t"}}), "SELinux: Cannot enforce SELinux"},
		"an SELinux label of the pod": {func(p *corev1.Pod) {
			p.Spec.SecurityContext = &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "t"}}
		}, "SELinux: "},
		"an SELinux label of nothing":         {own(corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{}}), ""},
		"an SELinux level":                    {own(corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Level: "s0:c0,c1"}}), ""},
		"an SELinux type without confinement": {own(corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t", Level: "s0"}}), ""},
		"an SELinux type beside the level s0": {own(corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "container_t", Level: "s0"}}), "SELinux: "},
		"an init container's AppArmor": {func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{SecurityContext: &corev1.SecurityContext{AppArmorProfile: armor}}}
		}, "AppArmor: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
			c.ask(pod)
			got := ""
			if err := Isolated(pod); err != nil {
				got = err.(*Refusal).Reason + ": " + err.Error()
			}
			if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("an ephemeral container that comes later", func(t *testing.T) {
		t.Parallel()
		late := &corev1.Container{Name: "debug", SecurityContext: &corev1.SecurityContext{AppArmorProfile: armor}}
		if _, err := Security(&corev1.Pod{}, late, &runtime.Image{}, "/s"); err == nil {
			t.Error("it would run without its profile")
		}
	})
}
