package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/downward"
	"kubus.dev/services/agent/internal/source"
	"kubus.dev/services/agent/internal/tree"
)

// Objects gives ConfigMaps and Secrets; not found is an apierrors.IsNotFound error.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Tokens gives service account tokens and when to ask again.
type Tokens interface {
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (value string, renewAt time.Time, err error)
}

// Bundles gives the certificates, PEM, that ClusterTrustBundles say to trust.
type Bundles interface {
	ByName(ctx context.Context, name string, optional bool) ([]byte, error)
	BySigner(ctx context.Context, signer string, selector *metav1.LabelSelector, optional bool) ([]byte, error)
}

// Certificates gives keys and certificate chains issued to pods, PEM, and when to ask again.
type Certificates interface {
	Certificate(ctx context.Context, pod *corev1.Pod, at source.Projection, p *corev1.PodCertificateProjection) (key, chain []byte, renewAt time.Time, err error)
}

// Claims gives claims and the persistent volumes behind them.
type Claims interface {
	Claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error)
	Volume(ctx context.Context, name string) (*corev1.PersistentVolume, error)
}

// Manager puts volumes in place. Different pods may be handled at the same time.
type Manager struct {
	// PodDir is the folder of a pod; volumes are below it, but those that may hold secrets: they are below MemoryDir,
	// which is in memory.
	PodDir       func(types.UID) string
	MemoryDir    func(types.UID) string
	Objects      Objects
	Tokens       Tokens
	Bundles      Bundles
	Certificates Certificates
	Claims       Claims
	Allocatable  func() corev1.ResourceList
	Labels       func() map[string]string // the node's
}

// Mounted says where a pod's volumes are.
type Mounted struct {
	Paths    map[string]string // by the volume's name; a file for some hostPaths
	ReadOnly map[string]bool   // those that no container may write to
	Devices  map[string]Device // block volumes, by the volume's name; they have no path
	RenewAt  time.Time         // when SetUp must run again; zero: only when an object changes
}

// Error says which volume could not be put in place.
type Error struct {
	Volume string
	Err    error
}

// Error is the sentence of the FailedMount Event.
func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// SetUp makes or refreshes all volumes of a pod; the error is an *Error, a *BlockError or a *ClaimError.
func (m *Manager) SetUp(ctx context.Context, pod *corev1.Pod, a downward.Addresses) (*Mounted, error) {
	out := &Mounted{Paths: make(map[string]string, len(pod.Spec.Volumes)), ReadOnly: map[string]bool{}, Devices: map[string]Device{}}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			if err := m.persistent(ctx, pod, v, out); err != nil {
				return nil, err
			}
			continue
		}
		path, renewAt, err := m.setUp(ctx, pod, v, a)
		if err != nil {
			return nil, &Error{v.Name, err}
		}
		out.Paths[v.Name], out.ReadOnly[v.Name] = path, v.Image != nil
		if !renewAt.IsZero() && (out.RenewAt.IsZero() || renewAt.Before(out.RenewAt)) {
			out.RenewAt = renewAt
		}
	}
	return out, nil
}

func (m *Manager) setUp(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, a downward.Addresses) (path string, renewAt time.Time, err error) {
	c := content{files: map[string]File{}}
	kind := ""
	switch {
	case v.EmptyDir != nil:
		path, err = m.emptyDir(pod, v.Name, v.EmptyDir)
		return path, time.Time{}, err
	case v.Image != nil: // the pod mounts it, when the image is there
		dir := m.dir(pod.UID, "image", v.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", time.Time{}, fmt.Errorf("making the volume's folder: %w", err)
		}
		return dir, time.Time{}, nil
	case v.HostPath != nil:
		return v.HostPath.Path, time.Time{}, checkHostPath(v.HostPath)
	case v.ConfigMap != nil:
		kind = "configmap"
		err = m.configMapFiles(ctx, pod.Namespace, v.ConfigMap.Name, v.ConfigMap.Items, mode(v.ConfigMap.DefaultMode, defaultMode), isTrue(v.ConfigMap.Optional), c.files)
	case v.Secret != nil:
		kind = "secret"
		err = m.secretFiles(ctx, pod.Namespace, v.Secret.SecretName, v.Secret.Items, mode(v.Secret.DefaultMode, defaultMode), isTrue(v.Secret.Optional), c.files)
	case v.DownwardAPI != nil:
		kind = "downward-api"
		err = m.downwardFiles(pod, v.DownwardAPI.Items, mode(v.DownwardAPI.DefaultMode, defaultMode), a, c.files)
	case v.Projected != nil:
		kind = "projected"
		c, err = m.projectedContent(ctx, pod, v.Name, m.dir(pod.UID, kind, v.Name), v.Projected, a)
	default:
		return "", time.Time{}, errors.New("this node does not support volumes of this kind")
	}
	if err != nil {
		return "", time.Time{}, err
	}
	dir := m.dir(pod.UID, kind, v.Name)
	if err := makeDir(dir, 0o777, fsGroup(pod)); err != nil {
		return "", time.Time{}, err
	}
	return dir, c.renewAt, Write(dir, c.files, fsGroup(pod))
}

func (m *Manager) dir(uid types.UID, kind, name string) string {
	below := filepath.Join("volumes", "kubernetes.io~"+kind, name)
	dir := filepath.Join(m.PodDir(uid), below)
	switch kind {
	case "secret", "projected", "downward-api":
		if _, err := os.Lstat(dir); err != nil { // else containers have it, from an agent of before
			return filepath.Join(m.MemoryDir(uid), below)
		}
	}
	return dir
}

func makeDir(dir string, mode fs.FileMode, gid int) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the volume's folder: %w", err)
	}
	return own(dir, mode, gid)
}

// own gives a volume's top folder its mode, and its group when there is one.
func own(dir string, mode fs.FileMode, gid int) error {
	if gid >= 0 {
		if err := os.Chown(dir, -1, gid); err != nil {
			return fmt.Errorf("giving the volume to its group: %w", err)
		}
		mode |= fs.ModeSetgid | 0o070
	}
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("making the volume's folder: %w", err)
	}
	return nil
}

func (m *Manager) emptyDir(pod *corev1.Pod, name string, e *corev1.EmptyDirVolumeSource) (string, error) {
	dir := m.dir(pod.UID, "empty-dir", name)
	switch e.Medium {
	case corev1.StorageMediumDefault:
		return dir, makeDir(dir, 0o777, fsGroup(pod))
	case corev1.StorageMediumMemory:
		options := ""
		if size := memorySize(pod, e); size > 0 {
			options = fmt.Sprintf("size=%d", size)
		}
		return dir, m.mountEmpty(dir, "tmpfs", options, fsGroup(pod))
	}
	if !strings.HasPrefix(string(e.Medium), string(corev1.StorageMediumHugePages)) {
		return "", fmt.Errorf("storage medium %q is not supported by this node", e.Medium)
	}
	size, err := pageSize(e.Medium, pod)
	if err != nil {
		return "", err
	}
	return dir, m.mountEmpty(dir, "hugetlbfs", fmt.Sprintf("pagesize=%d", size.Value()), fsGroup(pod))
}

// mountEmpty mounts an empty file system; one that is mounted stays.
func (m *Manager) mountEmpty(dir, kind, options string, gid int) error {
	if mounted, err := tree.IsMount(dir); err != nil || mounted {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the volume's folder: %w", err)
	}
	if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
		return fmt.Errorf("mounting %s: %w", kind, err)
	}
	return own(dir, 0o777, gid)
}

// memorySize bounds a memory-backed volume by its own limit and by the pod's.
func memorySize(pod *corev1.Pod, e *corev1.EmptyDirVolumeSource) int64 {
	var limit int64
	for i := range pod.Spec.Containers {
		q, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceMemory]
		if !ok {
			limit = 0
			break
		}
		limit += q.Value()
	}
	if e.SizeLimit != nil && e.SizeLimit.Value() > 0 && (limit == 0 || e.SizeLimit.Value() < limit) {
		limit = e.SizeLimit.Value()
	}
	return limit
}

// TearDown unmounts and removes everything SetUp and SubPath made for a pod, and what the pod has mounted there.
func (m *Manager) TearDown(uid types.UID) error {
	var problems []error
	for _, top := range []string{filepath.Join(m.PodDir(uid), "volume-subpaths"), filepath.Join(m.PodDir(uid), "volumes"), m.MemoryDir(uid)} {
		err := tree.UnmountBelow(top)
		if err == nil {
			err = tree.Remove(top)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("removing the pod's volumes: %w", err))
		}
	}
	return errors.Join(problems...)
}
