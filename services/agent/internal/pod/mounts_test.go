package pod

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/runtime"
	"kubus.dev/services/agent/internal/source"
	"kubus.dev/services/agent/internal/volume"
)

func TestARuntimeThatCannotMountRecursivelyIsNotAskedTo(t *testing.T) {
	t.Parallel()
	enabled, possible := corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible
	for name, c := range map[string]struct {
		mode      corev1.RecursiveReadOnlyMode
		lacking   []string
		recursive bool
		err       string
	}{
		"it can":                {enabled, []string{"other"}, true, ""},
		"possible":              {possible, nil, true, ""},
		"it cannot":             {enabled, []string{""}, false, `failed to resolve recursive read-only mode: volume "v" requested recursive read-only mode, but it is not supported by the runtime`},
		"it cannot and may not": {possible, []string{""}, false, ""},
	} {
		spec := &corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v", ReadOnly: true, RecursiveReadOnly: &c.mode}}}
		a := &attempt{d: &workerDeps{Deps: Deps{Node: Node{NoRecursive: c.lacking}}}, pod: &corev1.Pod{}, spec: spec}
		mounts := []runtime.Mount{{ContainerPath: "/v", ReadOnly: true, RecursiveReadOnly: true}}
		err := a.recursion(t.Context(), mounts)
		if text := ""; err != nil {
			if text = err.Error(); text != c.err {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if c.err != "" || mounts[0].RecursiveReadOnly != c.recursive {
			t.Errorf("%s: no error, recursive %v, want %+v", name, mounts[0].RecursiveReadOnly, c)
		}
	}
}

func TestBlockVolumesAreDevices(t *testing.T) {
	t.Parallel()
	mounted := &volume.Mounted{Devices: map[string]volume.Device{"v": {Path: "/dev/disk"}, "r": {Path: "/dev/other", ReadOnly: true}}}
	for name, c := range map[string]struct {
		devices []corev1.VolumeDevice
		want    []runtime.Device
		err     string
	}{
		"two": {[]corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/a"}, {Name: "r", DevicePath: "/dev/b"}},
			[]runtime.Device{{HostPath: "/dev/disk", ContainerPath: "/dev/a", Permissions: "mrw"}, {HostPath: "/dev/other", ContainerPath: "/dev/b", Permissions: "r"}}, ""},
		"none":            {nil, nil, ""},
		"a relative path": {[]corev1.VolumeDevice{{Name: "v", DevicePath: "a"}}, nil, "error DevicePath `a` must be an absolute path"},
		"not there":       {[]corev1.VolumeDevice{{Name: "x", DevicePath: "/dev/a"}}, nil, `cannot find volume "x" to pass into container "c"`},
	} {
		a := &attempt{spec: &corev1.Container{Name: "c", VolumeDevices: c.devices}}
		got, err := a.blocks(mounted)
		if err != nil && err.Error() != c.err || err == nil && (c.err != "" || !slices.Equal(got, c.want)) {
			t.Errorf("%s: %v, %v, want %v %s", name, got, err, c.want, c.err)
		}
	}
}

// CVE-2017-1002102: what a container leaves in such a volume must not lead the agent.
func TestNoContainerWritesWhereTheAgentWrites(t *testing.T) {
	t.Parallel()
	volumes := map[string]corev1.VolumeSource{
		"config":    {ConfigMap: &corev1.ConfigMapVolumeSource{}},
		"secret":    {Secret: &corev1.SecretVolumeSource{}},
		"downward":  {DownwardAPI: &corev1.DownwardAPIVolumeSource{}},
		"projected": {Projected: &corev1.ProjectedVolumeSource{}},
		"empty":     {EmptyDir: &corev1.EmptyDirVolumeSource{}},
	}
	pod := &corev1.Pod{}
	pod.UID = types.UID("u")
	spec := &corev1.Container{Name: "c"}
	mounted := &volume.Mounted{Paths: map[string]string{}}
	for name, source := range volumes {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		spec.VolumeMounts = append(spec.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
		mounted.Paths[name] = t.TempDir()
	}
	store, err := source.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := &attempt{d: &workerDeps{Deps: Deps{Store: store}}, pod: pod, spec: spec}
	mounts, err := a.mounts(mounted, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range mounts {
		for name := range volumes {
			if m.ContainerPath == "/"+name {
				seen++
				if want := name != "empty"; m.ReadOnly != want {
					t.Errorf("%s: read-only is %v", name, m.ReadOnly)
				}
			}
		}
	}
	if seen != len(volumes) {
		t.Errorf("%d of %d volumes are mounted", seen, len(volumes))
	}
}
