package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/downward"
	"kubus.dev/services/kit/kittest"
)

// claims is an API with one claim and one volume, or without.
type claims struct {
	claim *corev1.PersistentVolumeClaim
	pv    *corev1.PersistentVolume
	asked int
}

func (c *claims) Claim(_ context.Context, _, name string) (*corev1.PersistentVolumeClaim, error) {
	c.asked++
	if c.claim == nil || c.claim.Name != name {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "persistentvolumeclaims"}, name)
	}
	return c.claim, nil
}

func (c *claims) Volume(_ context.Context, name string) (*corev1.PersistentVolume, error) {
	if c.pv == nil || c.pv.Name != name {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "persistentvolumes"}, name)
	}
	return c.pv, nil
}

// bound is a claim with the local volume at path.
func bound(path string) *claims {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "c"}}
	claim.Spec.VolumeName, claim.Status.Phase = "pv", corev1.ClaimBound
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}
	pv.Spec.Local = &corev1.LocalVolumeSource{Path: path}
	pv.Spec.ClaimRef = &corev1.ObjectReference{UID: "c"}
	pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}}}}
	return &claims{claim: claim, pv: pv}
}

func userOf(change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p"}}
	pod.Spec.Containers = []corev1.Container{{Name: "c", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func managerOf(t *testing.T, c *claims) *Manager {
	top := t.TempDir()
	return &Manager{PodDir: func(types.UID) string { return top }, Claims: c, Labels: func() map[string]string { return map[string]string{corev1.LabelHostname: "n1"} }}
}

func asDevice(p *corev1.Pod) {
	p.Spec.Containers[0].VolumeMounts, p.Spec.Containers[0].VolumeDevices = nil, []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/x"}}
}

func TestABlockVolumeIsADeviceAndNoPath(t *testing.T) {
	t.Parallel()
	kittest.NeedRoot(t)
	device, block := filepath.Join(t.TempDir(), "disk"), corev1.PersistentVolumeBlock
	if err := syscall.Mknod(device, syscall.S_IFBLK|0o600, 7<<8); err != nil { // nothing opens it
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "by-id")
	if err := os.Symlink(device, link); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"the device": device, "a link to it": link} {
		for _, readOnly := range []bool{false, true} {
			c := bound(path)
			c.pv.Spec.VolumeMode = &block
			pod := userOf(asDevice, func(p *corev1.Pod) { p.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = readOnly })
			mounted, err := managerOf(t, c).SetUp(t.Context(), pod, downward.Addresses{})
			if err != nil || mounted.Devices["v"] != (Device{path, readOnly}) || len(mounted.Paths) != 0 {
				t.Errorf("%s: %+v, %v", name, mounted, err)
			}
		}
	}
}

func TestWhyAClaimCannotBeMounted(t *testing.T) {
	t.Parallel()
	const processing = "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: "
	block := corev1.PersistentVolumeBlock
	for name, tt := range map[string]struct {
		change func(*claims)
		pod    func(*corev1.Pod)
		want   string
	}{
		"no claim":         {change: func(c *claims) { c.claim = nil }, want: processing + `error processing PVC ns/data: failed to fetch PVC from API server: persistentvolumeclaims "data" not found`},
		"not bound":        {change: func(c *claims) { c.claim.Status.Phase = corev1.ClaimPending }, want: processing + "error processing PVC ns/data: PVC is not bound"},
		"deleted":          {change: func(c *claims) { c.claim.DeletionTimestamp = &metav1.Time{} }, want: processing + "error processing PVC ns/data: PVC is being deleted"},
		"no volume":        {change: func(c *claims) { c.pv = nil }, want: processing + `error processing PVC ns/data: failed to fetch PV pv from API server: persistentvolumes "pv" not found`},
		"another's volume": {change: func(c *claims) { c.pv.Spec.ClaimRef.UID = "x" }, want: processing + "error processing PVC ns/data: found PV object pv but its pv.Spec.ClaimRef.UID x does not point to claim.UID c"},
		"on another node": {change: func(c *claims) {
			c.pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values = []string{"n2"}
		}, want: `MountVolume.NodeAffinity check failed for volume "pv" : no matching NodeSelectorTerms`},
		"no folder":         {change: func(c *claims) { c.pv.Spec.Local.Path = "/nowhere/at/all" }, want: `MountVolume.SetUp failed for volume "pv" : path "/nowhere/at/all" does not exist`},
		"of another type":   {change: func(c *claims) { c.pv.Spec.Local = nil }, want: `MountVolume.SetUp failed for volume "pv" : this node supports persistent volumes of type local and hostPath only`},
		"a device, mounted": {change: func(c *claims) { c.pv.Spec.VolumeMode = &block }, want: processing + "volume v has volumeMode Block, but is specified in volumeMounts"},
		"no device":         {change: func(c *claims) { c.pv.Spec.VolumeMode, c.pv.Spec.Local.Path = &block, "/nowhere/at/all" }, pod: asDevice, want: `MapVolume.SetUpDevice failed for volume "pv" : path "/nowhere/at/all" does not exist`},
		"not of a block":    {change: func(c *claims) { c.pv.Spec.VolumeMode, c.pv.Spec.Local.Path = &block, "/dev/null" }, pod: asDevice, want: `MapVolume.SetUpDevice failed for volume "pv" : path "/dev/null" is no block device`},
		"files as a device": {pod: func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts, p.Spec.Containers[0].VolumeDevices = nil, []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/x"}}
		}, want: processing + "volume v has volumeMode Filesystem, but is specified in volumeDevices"},
		"ephemeral and of another": {change: func(c *claims) { c.claim.Name = "p-v" }, pod: func(p *corev1.Pod) {
			p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
		}, want: processing + "error processing PVC ns/p-v: PVC ns/p-v was not created for pod ns/p (pod is not owner)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := bound(t.TempDir())
			if tt.change != nil {
				tt.change(c)
			}
			pod := userOf()
			if tt.pod != nil {
				tt.pod(pod)
			}
			_, err := managerOf(t, c).SetUp(t.Context(), pod, downward.Addresses{})
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if got := errors.Is(err, ErrNotBound); got != (name == "not bound") {
				t.Errorf("is soon tried again: %v", got)
			}
		})
	}
}

func TestAPodAsksForItsVolumeOnce(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	c := bound(path)
	m := managerOf(t, c)
	pod := userOf(func(p *corev1.Pod) { p.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = true })
	for range 3 {
		mounted, err := m.SetUp(t.Context(), pod, downward.Addresses{})
		if err != nil || mounted.Paths["v"] != path || !mounted.ReadOnly["v"] {
			t.Fatalf("%+v, %v", mounted, err)
		}
		c.claim = nil // as with no control plane
	}
	if c.asked != 1 {
		t.Errorf("the API was asked %d times", c.asked)
	}
}

func TestTheGroupGetsWhatIsInTheVolume(t *testing.T) {
	t.Parallel()
	kittest.NeedRoot(t)
	outside := filepath.Join(t.TempDir(), "canary")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		policy corev1.PodFSGroupChangePolicy
		before func(top string) error
		inner  bool // the file inside is given too
	}{
		"always":                          {corev1.FSGroupChangeAlways, nil, true},
		"on root mismatch, not given yet": {corev1.FSGroupChangeOnRootMismatch, nil, true},
		"on root mismatch, the top was given": {corev1.FSGroupChangeOnRootMismatch, func(top string) error {
			return errors.Join(os.Chown(top, -1, 4711), os.Chmod(top, 0o777|fs.ModeSetgid))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			inner := filepath.Join(top, "d", "f")
			for _, err := range []error{os.Mkdir(filepath.Dir(inner), 0o700), os.WriteFile(inner, nil, 0o600), os.Symlink(outside, filepath.Join(top, "link"))} {
				if err != nil {
					t.Fatal(err)
				}
			}
			if tt.before != nil {
				if err := tt.before(top); err != nil {
					t.Fatal(err)
				}
			}
			pod := userOf(func(p *corev1.Pod) {
				gid := int64(4711)
				p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &gid, FSGroupChangePolicy: &tt.policy}
			})
			if _, err := managerOf(t, bound(top)).SetUp(t.Context(), pod, downward.Addresses{}); err != nil {
				t.Fatal(err)
			}
			if gid, mode := owner(t, top); gid != 4711 || mode&(fs.ModeSetgid|0o770) != fs.ModeSetgid|0o770 {
				t.Errorf("top: group %d, %v", gid, mode)
			}
			if gid, mode := owner(t, inner); (gid == 4711) != tt.inner || (mode.Perm() == 0o660) != tt.inner {
				t.Errorf("inner: group %d, %v", gid, mode)
			}
			if gid, mode := owner(t, outside); gid == 4711 || mode.Perm() != 0o600 {
				t.Errorf("what a link leads to: group %d, %v", gid, mode)
			}
		})
	}
}

func owner(t *testing.T, path string) (gid int, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Gid), info.Mode()
}
