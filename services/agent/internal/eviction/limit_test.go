package eviction

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// scratch is a pod of two containers and a sidecar with a volume; limits are by container, "v" is the volume's.
func scratch(limits map[string]string) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	p := &corev1.Pod{}
	limited := func(name string) corev1.ResourceRequirements {
		if limits[name] == "" {
			return corev1.ResourceRequirements{}
		}
		return corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limits[name])}}
	}
	for _, name := range []string{"a", "b"} {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Resources: limited(name)})
	}
	p.Spec.InitContainers = []corev1.Container{{Name: "first", Resources: limited("first")}, {Name: "side", Resources: limited("side"), RestartPolicy: &always}}
	v := &corev1.EmptyDirVolumeSource{}
	if limits["v"] != "" {
		q := resource.MustParse(limits["v"])
		v.SizeLimit = &q
	}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: v}}, {Name: "h", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}}}
	return p
}

func TestExceeded(t *testing.T) {
	t.Parallel()
	disk := func(n int64) Use { return Use{corev1.ResourceEphemeralStorage: n} }
	has := &Usage{Pod: disk(2000), Volumes: map[string]int64{"v": 1000, "h": 1 << 40}, Containers: []ContainerUse{{"a", disk(100)}, {"side", disk(300)}}}
	for name, c := range map[string]struct {
		limits  map[string]string
		usage   *Usage
		limited bool
		want    string
	}{
		"nothing is limited":             {nil, has, false, ""},
		"a volume within its limit":      {map[string]string{"v": "1000"}, has, true, ""},
		"a volume above it":              {map[string]string{"v": "999"}, has, true, `Usage of EmptyDir volume "v" exceeds the limit "999". `},
		"a limit of zero limits nothing": {map[string]string{"v": "0"}, has, false, ""},
		"one container's limit is all's": {map[string]string{"b": "1Ki"}, has, true, "Pod ephemeral local storage usage exceeds the total limit of containers 1Ki. "},
		"a container above its own":      {map[string]string{"a": "99", "b": "2000"}, has, true, `Container a exceeded its local ephemeral storage limit "99". `},
		"a sidecar":                      {map[string]string{"side": "200", "b": "2000"}, has, true, `Container side exceeded its local ephemeral storage limit "200". `},
		"one that prepares":              {map[string]string{"first": "5k"}, has, true, ""},
		"the volume is told first":       {map[string]string{"v": "1", "a": "1"}, has, true, `Usage of EmptyDir volume "v" exceeds the limit "1". `},
		"a pod that was not measured":    {map[string]string{"v": "1"}, nil, true, ""},
	} {
		p := scratch(c.limits)
		if got := Limited(p); got != c.limited {
			t.Errorf("%s: limited is %v", name, got)
		}
		if got := Exceeded(p, c.usage); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	memory := scratch(map[string]string{"v": "1"})
	memory.Spec.Volumes[0].EmptyDir.Medium = corev1.StorageMediumMemory
	if Limited(memory) || Exceeded(memory, has) != "" {
		t.Error("a volume in memory is the kernel's to limit")
	}
}
