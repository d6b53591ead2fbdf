package launch

import (
	"fmt"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/oci"
	"kubus.dev/services/agent/internal/runtime"
)

// Effective is a container's security context with the pod's as its default.
func Effective(pod *corev1.Pod, c *corev1.Container) corev1.SecurityContext {
	var sc corev1.SecurityContext
	if c.SecurityContext != nil {
		sc = *c.SecurityContext
	}
	p := pod.Spec.SecurityContext
	if p == nil {
		return sc
	}
	if sc.RunAsUser == nil {
		sc.RunAsUser = p.RunAsUser
	}
	if sc.RunAsGroup == nil {
		sc.RunAsGroup = p.RunAsGroup
	}
	if sc.RunAsNonRoot == nil {
		sc.RunAsNonRoot = p.RunAsNonRoot
	}
	if sc.SeccompProfile == nil {
		sc.SeccompProfile = p.SeccompProfile
	}
	return sc
}

// Security maps the effective security context. seccompDir holds Localhost profiles.
func Security(pod *corev1.Pod, c *corev1.Container, image *runtime.Image, seccompDir string) (runtime.Security, error) {
	if err := containerIsolated(c.SecurityContext); err != nil { // an ephemeral container comes after the pod's admission
		return runtime.Security{}, err
	}
	sc := Effective(pod, c)
	if err := verifyNonRoot(pod, c, &sc, image.Config.User); err != nil {
		return runtime.Security{}, err
	}
	s := runtime.Security{
		RunAsUser:    sc.RunAsUser,
		RunAsGroup:   sc.RunAsGroup,
		Privileged:   isTrue(sc.Privileged),
		ReadOnlyRoot: isTrue(sc.ReadOnlyRootFilesystem),
		NoNewPrivs:   sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation,
		NonRoot:      isTrue(sc.RunAsNonRoot),
		UnmaskedProc: sc.ProcMount != nil && *sc.ProcMount == corev1.UnmaskedProcMount,
	}
	if sc.RunAsUser == nil {
		s.RunAsUserName = image.Config.User
	}
	if sc.Capabilities != nil {
		for _, add := range sc.Capabilities.Add {
			s.AddCapabilities = append(s.AddCapabilities, capability(add))
		}
		for _, drop := range sc.Capabilities.Drop {
			s.DropCapabilities = append(s.DropCapabilities, capability(drop))
		}
	}
	if p := pod.Spec.SecurityContext; p != nil {
		if p.FSGroup != nil {
			s.SupplementalGroups = append(s.SupplementalGroups, *p.FSGroup)
		}
		s.SupplementalGroups = append(s.SupplementalGroups, p.SupplementalGroups...)
		s.SupplementalGroupsStrict = p.SupplementalGroupsPolicy != nil && *p.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
	}
	if err := seccomp(&s, sc.SeccompProfile, seccompDir); err != nil {
		return runtime.Security{}, err
	}
	return s, nil
}

func capability(c corev1.Capability) string {
	return strings.TrimPrefix(strings.ToUpper(string(c)), "CAP_")
}

func seccomp(s *runtime.Security, p *corev1.SeccompProfile, dir string) error {
	if p == nil {
		return nil
	}
	switch p.Type {
	case corev1.SeccompProfileTypeUnconfined:
		s.Seccomp = runtime.SeccompUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		s.Seccomp = runtime.SeccompRuntimeDefault
	case corev1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile == nil || *p.LocalhostProfile == "" {
			return fmt.Errorf("localhostProfile must be set if seccompProfile type is Localhost")
		}
		if !filepath.IsLocal(*p.LocalhostProfile) {
			return fmt.Errorf("localhostProfile %q must be a path below the node's seccomp folder", *p.LocalhostProfile)
		}
		s.Seccomp, s.SeccompLocalhostPath = runtime.SeccompLocalhost, filepath.Join(dir, *p.LocalhostProfile)
	default:
		return fmt.Errorf("unknown seccomp profile type %q", p.Type)
	}
	return nil
}

func verifyNonRoot(pod *corev1.Pod, c *corev1.Container, sc *corev1.SecurityContext, imageUser string) error {
	if !isTrue(sc.RunAsNonRoot) {
		return nil
	}
	where := fmt.Sprintf("(pod: %q, container: %s)", PodName(pod), c.Name)
	if sc.RunAsUser != nil {
		if *sc.RunAsUser == 0 {
			return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
		}
		return nil
	}
	user, _, _ := strings.Cut(imageUser, ":")
	if user == "" {
		user = "0"
	}
	uid, numeric, err := oci.ID(user)
	if err != nil {
		return fmt.Errorf("container has runAsNonRoot and image has a user that is none: %w %s", err, where)
	}
	if !numeric {
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", user, where)
	}
	if uid == 0 {
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	}
	return nil
}

// PodName is how kubelet names a pod in messages: name_namespace(uid).
func PodName(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}
