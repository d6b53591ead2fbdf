package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedule "k8s.io/component-helpers/scheduling/corev1"

	"kubus.dev/proto/volume"
	"kubus.dev/services/kit/file"
)

// ErrNotBound: the claim may be bound before long.
var ErrNotBound = errors.New("PVC is not bound")

// ClaimError says which volume has no persistent volume that could be used.
type ClaimError struct {
	Volume string
	Err    error
}

// Error is the sentence of the FailedMount Event.
func (e *ClaimError) Error() string {
	return fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: %v", e.Volume, e.Volume, e.Err)
}

func (e *ClaimError) Unwrap() error { return e.Err }

// persistent puts the volume behind a claim in place, and into out.
func (m *Manager) persistent(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, out *Mounted) error {
	pv, err := m.behind(ctx, pod, v)
	if err != nil {
		return &ClaimError{v.Name, err}
	}
	readOnly := v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
	if affinity := pv.Spec.NodeAffinity; affinity != nil && affinity.Required != nil {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: m.Labels()}}
		if fits, err := schedule.MatchNodeSelectorTerms(node, affinity.Required); err != nil || !fits {
			if err == nil {
				err = errors.New("no matching NodeSelectorTerms")
			}
			return fmt.Errorf("MountVolume.NodeAffinity check failed for volume %q : %w", pv.Name, err)
		}
	}
	if volume.IsBlock(pv.Spec.VolumeMode) {
		path, err := block(pv)
		if err != nil {
			return &BlockError{pv.Name, err}
		}
		out.Devices[v.Name] = Device{path, readOnly}
		return nil
	}
	path, err := m.place(pod, pv, readOnly)
	if err != nil {
		return &Error{pv.Name, err}
	}
	out.Paths[v.Name], out.ReadOnly[v.Name] = path, readOnly
	return nil
}

// place puts a persistent volume where containers can be given it.
func (m *Manager) place(pod *corev1.Pod, pv *corev1.PersistentVolume, readOnly bool) (string, error) {
	switch {
	case pv.Spec.Local != nil:
		path := pv.Spec.Local.Path
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("path %q does not exist", path)
		case err != nil:
			return "", fmt.Errorf("looking at the volume: %w", err)
		case !info.IsDir():
			return "", fmt.Errorf("path %q is no directory; this node makes no file system of a device", path)
		}
		if gid := fsGroup(pod); gid >= 0 && !readOnly {
			return path, give(path, gid, changePolicy(pod))
		}
		return path, nil
	case pv.Spec.HostPath != nil:
		host := *pv.Spec.HostPath
		if host.Type == nil || *host.Type == corev1.HostPathUnset {
			return host.Path, mkdirHost(host.Path) // as container runtimes do for the source of a mount
		}
		return host.Path, checkHostPath(&host)
	}
	return "", errors.New("this node supports persistent volumes of type local and hostPath only")
}

// behind finds the persistent volume of a pod's volume. The first answer is kept with the
// pod: a binding does not change while a pod uses it, and the pod may start again without a
// control plane.
func (m *Manager) behind(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (*corev1.PersistentVolume, error) {
	kept := filepath.Join(m.PodDir(pod.UID), "claims", v.Name+".json")
	if data, err := os.ReadFile(kept); err == nil {
		pv := &corev1.PersistentVolume{}
		if err := json.Unmarshal(data, pv); err == nil {
			return pv, nil
		}
	}
	pv, err := m.ask(ctx, pod, v)
	if err != nil {
		name, _ := volume.ClaimName(pod, v)
		return nil, fmt.Errorf("error processing PVC %s/%s: %w", pod.Namespace, name, err)
	}
	switch block := volume.IsBlock(pv.Spec.VolumeMode); {
	case block && mounts(pod, v.Name):
		return nil, fmt.Errorf("volume %s has volumeMode Block, but is specified in volumeMounts", v.Name)
	case !block && devices(pod, v.Name):
		return nil, fmt.Errorf("volume %s has volumeMode Filesystem, but is specified in volumeDevices", v.Name)
	}
	data, err := json.Marshal(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: pv.Name}, Spec: pv.Spec})
	if err == nil {
		err = writeKept(kept, data)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping the volume behind the claim: %w", err)
	}
	return pv, nil
}

// ask finds the volume by the API, in kubelet's words.
func (m *Manager) ask(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (*corev1.PersistentVolume, error) {
	name, ephemeral := volume.ClaimName(pod, v)
	claim, err := m.Claims.Claim(ctx, pod.Namespace, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	case claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, volume.ClaimProtection):
		return nil, errors.New("PVC is being deleted")
	case claim.Status.Phase != corev1.ClaimBound:
		return nil, ErrNotBound
	case claim.Spec.VolumeName == "":
		return nil, errors.New("PVC has empty pvc.Spec.VolumeName")
	}
	if ephemeral {
		if err := volume.MadeFor(pod, claim); err != nil {
			return nil, err
		}
	}
	pv, err := m.Claims.Volume(ctx, claim.Spec.VolumeName)
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err)
	case pv.Spec.ClaimRef == nil:
		return nil, fmt.Errorf("found PV object %s but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim", pv.Name)
	case pv.Spec.ClaimRef.UID != claim.UID:
		return nil, fmt.Errorf("found PV object %s but its pv.Spec.ClaimRef.UID %s does not point to claim.UID %s", pv.Name, pv.Spec.ClaimRef.UID, claim.UID)
	}
	return pv, nil
}

func mounts(pod *corev1.Pod, name string) bool {
	return inContainers(pod, func(c *corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == name })
	})
}

func devices(pod *corev1.Pod, name string) bool {
	return inContainers(pod, func(c *corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == name })
	})
}

func inContainers(pod *corev1.Pod, has func(*corev1.Container) bool) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if has(&list[i]) {
				return true
			}
		}
	}
	return false
}

// writeKept writes a file all or nothing.
func writeKept(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return file.Replace(path, data, 0o600)
}
