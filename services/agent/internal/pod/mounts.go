package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/launch"
	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/volume"
)

// Files that every container of a pod is given.
const (
	hostsPath    = "/etc/hosts"
	resolvPath   = "/etc/resolv.conf"
	hostnamePath = "/etc/hostname"
)

// podFiles writes what all containers of the pod share.
func (w *worker) podFiles(pod *corev1.Pod, spec runtime.SandboxSpec, sb *runtime.Sandbox) error {
	dir := w.d.Store.PodDir(pod.UID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the pod's folder: %w", err)
	}
	var node []byte
	if pod.Spec.HostNetwork {
		var err error
		if node, err = os.ReadFile(hostsPath); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("reading the node's hosts file: %w", err)
		}
	}
	hostname, domain, err := launch.Hostname(pod, w.d.Node.DNS.Domain)
	if err != nil {
		return err
	}
	ips := sb.IPs
	if pod.Spec.HostNetwork {
		ips = w.d.Node.IPs()
	}
	files := map[string][]byte{
		"etc-hosts":   launch.HostsFile(pod, ips, hostname, domain, node),
		"resolv.conf": launch.FormatResolvConf(spec.DNS),
		"hostname":    []byte(spec.Hostname + "\n"),
	}
	for name, data := range files {
		// Written in place: running containers have the file mounted.
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("writing the pod's %s: %w", name, err)
		}
	}
	return nil
}

// mounts lists what the container sees of the node.
func (a *attempt) mounts(mounted *volume.Mounted, env []string) ([]runtime.Mount, error) {
	var out []runtime.Mount
	own := map[string]bool{}
	for i := range a.spec.VolumeMounts {
		m := &a.spec.VolumeMounts[i]
		host, ok := mounted.Paths[m.Name]
		if !ok {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, a.spec.Name)
		}
		host, err := a.subPath(m, host, i, env)
		if err != nil {
			return nil, err
		}
		target := m.MountPath
		if !path.IsAbs(target) {
			target = "/" + target
		}
		one := runtime.Mount{HostPath: host, ContainerPath: target, ReadOnly: m.ReadOnly || mounted.ReadOnly[m.Name] || writtenByUs(a.pod, m.Name)}
		one.NoExec = imageVolume(a.pod, m.Name) != nil
		if m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
			one.RecursiveReadOnly = true
		}
		if m.MountPropagation != nil {
			switch *m.MountPropagation {
			case corev1.MountPropagationHostToContainer:
				one.Propagation = runtime.PropagationHostToContainer
			case corev1.MountPropagationBidirectional:
				one.Propagation = runtime.PropagationBidirectional
			}
		}
		if err := a.ensureHostPath(m.Name, host); err != nil {
			return nil, err
		}
		own[path.Clean(target)] = true
		out = append(out, one)
	}
	dir := a.d.Store.PodDir(a.pod.UID)
	for _, f := range []struct{ container, file string }{{hostsPath, "etc-hosts"}, {resolvPath, "resolv.conf"}, {hostnamePath, "hostname"}} {
		if own[f.container] || a.pod.Spec.HostNetwork && f.container == hostnamePath {
			continue
		}
		out = append(out, runtime.Mount{HostPath: filepath.Join(dir, f.file), ContainerPath: f.container})
	}
	if target := a.spec.TerminationMessagePath; target != "" {
		file, err := a.terminationLog(dir)
		if err != nil {
			return nil, err
		}
		out = append(out, runtime.Mount{HostPath: file, ContainerPath: path.Join("/", target)})
	}
	return out, nil
}

// blocks lists the block volumes that the container gets as devices.
func (a *attempt) blocks(mounted *volume.Mounted) ([]runtime.Device, error) {
	var out []runtime.Device
	for _, d := range a.spec.VolumeDevices {
		if !filepath.IsAbs(d.DevicePath) {
			return nil, fmt.Errorf("error DevicePath `%s` must be an absolute path", d.DevicePath)
		}
		device, ok := mounted.Devices[d.Name]
		if !ok {
			return nil, fmt.Errorf("cannot find volume %q to pass into container %q", d.Name, a.spec.Name)
		}
		permissions := "mrw"
		if device.ReadOnly {
			permissions = "r"
		}
		out = append(out, runtime.Device{HostPath: device.Path, ContainerPath: d.DevicePath, Permissions: permissions})
	}
	return out, nil
}

// recursion settles which mounts are read-only with all that is mounted in them, in kubelet's words: IfPossible is
// no where the pod's runtime cannot.
func (a *attempt) recursion(ctx context.Context, mounts []runtime.Mount) error {
	handler, err := handlerOf(ctx, a.d, a.pod)
	if err != nil || !slices.Contains(a.d.Node.NoRecursive, handler) {
		return err
	}
	for i := range a.spec.VolumeMounts { // they come first, in their order
		m := &a.spec.VolumeMounts[i]
		if !mounts[i].RecursiveReadOnly {
			continue
		}
		if *m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled {
			return fmt.Errorf("failed to resolve recursive read-only mode: volume %q requested recursive read-only mode, but it is not supported by the runtime", m.Name)
		}
		mounts[i].RecursiveReadOnly = false
	}
	return nil
}

// writtenByUs tells volumes whose content the agent goes on writing: configMap,
// secret, downwardAPI and projected. No container may write there whatever its mount
// says, or a link that it left would lead the agent, who follows it as root, out of
// the volume.
func writtenByUs(pod *corev1.Pod, name string) bool {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == name {
			return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
		}
	}
	return false
}

// ensureHostPath makes an untyped hostPath that is missing, as container
// runtimes do for the source of a bind mount.
func (a *attempt) ensureHostPath(name, host string) error {
	for i := range a.pod.Spec.Volumes {
		v := &a.pod.Spec.Volumes[i]
		if v.Name != name || v.HostPath == nil {
			continue
		}
		if _, err := os.Stat(host); errors.Is(err, os.ErrNotExist) {
			if err := os.MkdirAll(host, 0o755); err != nil {
				return fmt.Errorf("failed to mkdir %q: %w", host, err)
			}
		}
	}
	return nil
}

func (a *attempt) subPath(m *corev1.VolumeMount, host string, index int, env []string) (string, error) {
	sub := m.SubPath
	if m.SubPathExpr != "" {
		sub = launch.ExpandAll([]string{m.SubPathExpr}, env)[0]
		if i := strings.Index(sub, "$("); i >= 0 {
			return "", fmt.Errorf("missing value for %q", sub[i:])
		}
	}
	if sub == "" {
		return host, nil
	}
	return a.d.Volumes.SubPath(a.pod.UID, m.Name, host, a.spec.Name, index, sub)
}

func (a *attempt) terminationLog(dir string) (string, error) {
	file := filepath.Join(dir, "containers", a.spec.Name, strconv.Itoa(a.number))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", fmt.Errorf("error on creating termination-log file %q: %w", file, err)
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return "", fmt.Errorf("error on creating termination-log file %q: %w", file, err)
	}
	if err := os.Chmod(file, 0o666); err != nil { // whoever the container runs as
		return "", fmt.Errorf("unable to set termination-log file permissions %q: %w", file, err)
	}
	return file, nil
}
