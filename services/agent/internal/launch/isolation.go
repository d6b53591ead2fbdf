package launch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Refusal says why a pod cannot have an isolation that it asks for: a pod must not run with less than it says.
type Refusal struct {
	Reason  string // of the pod's status and Event
	Message string
}

func (r *Refusal) Error() string { return r.Message }

// Isolated tells whether this node enforces what the pod asks to be isolated by; the error is a *Refusal. AppArmor is
// refused in kubelet's words. Requests for nothing, such as an Unconfined profile, are fine.
func Isolated(pod *corev1.Pod) error {
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		return &Refusal{"UserNamespacesNotSupported", "Cannot enforce hostUsers=false: user namespaces are not supported by this node"}
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		if err := errors.Join(appArmor(sc.AppArmorProfile), seLinux(sc.SELinuxOptions)); err != nil {
			return first(err)
		}
	}
	for name, profile := range pod.Annotations {
		if c, ok := strings.CutPrefix(name, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix); ok && profile != "" &&
			profile != corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
			return &Refusal{"AppArmor", fmt.Sprintf("Cannot enforce AppArmor: AppArmor is not enabled on the host (container: %s)", c)}
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if err := containerIsolated(list[i].SecurityContext); err != nil {
				return err
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if err := containerIsolated(pod.Spec.EphemeralContainers[i].SecurityContext); err != nil {
			return err
		}
	}
	return nil
}

// containerIsolated is Isolated for what one container asks beyond its pod.
func containerIsolated(sc *corev1.SecurityContext) error {
	if sc == nil {
		return nil
	}
	return first(errors.Join(appArmor(sc.AppArmorProfile), seLinux(sc.SELinuxOptions)))
}

func appArmor(p *corev1.AppArmorProfile) error {
	if p == nil || p.Type == corev1.AppArmorProfileTypeUnconfined {
		return nil
	}
	return &Refusal{"AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"}
}

// seLinux refuses labels that ask for confinement, which is the type's to give. Those of
// unconfined processes, which charts of node software set, ask for none; a level says who
// may share volumes among the confined, and is passed over, as everywhere where SELinux
// is off.
func seLinux(o *corev1.SELinuxOptions) error {
	if o == nil {
		return nil
	}
	for _, part := range []struct {
		label string
		none  []string
	}{
		{o.User, []string{"system_u", "unconfined_u"}},
		{o.Role, []string{"system_r", "unconfined_r"}},
		{o.Type, []string{"spc_t", "unconfined_t"}},
	} {
		if part.label != "" && !slices.Contains(part.none, part.label) {
			return &Refusal{"SELinux", "Cannot enforce SELinux: seLinuxOptions are not supported by this node"}
		}
	}
	return nil
}

// first is the first refusal of several.
func first(err error) error {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return err
}
