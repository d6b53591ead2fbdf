package admission

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apiserver/pkg/authentication/user"
	api "k8s.io/kubernetes/pkg/apis/core"
)

func TestForbiddenLabels(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		before, after map[string]string
		want          []string
	}{
		{"a node may set labels of its own", nil, map[string]string{"rack": "7", "example.com/a": "b"}, nil},
		{"and those that kubelets set", nil, map[string]string{corev1.LabelHostname: "n", corev1.LabelTopologyZone: "z", "node.kubernetes.io/instance-type": "x"}, nil},
		{"no others of Kubernetes", nil, map[string]string{"node-role.kubernetes.io/master": "", "x.k8s.io/y": ""}, []string{"node-role.kubernetes.io/master", "x.k8s.io/y"}},
		{"nor restricted ones", nil, map[string]string{"node-restriction.kubernetes.io/a": "", "sub.node-restriction.kubernetes.io/b": ""}, []string{"node-restriction.kubernetes.io/a", "sub.node-restriction.kubernetes.io/b"}},
		{"what is there and stays is nobody's concern", map[string]string{"x.k8s.io/y": "1"}, map[string]string{"x.k8s.io/y": "1"}, nil},
		{"removing counts", map[string]string{"x.k8s.io/y": "1"}, nil, []string{"x.k8s.io/y"}},
		{"changing counts", map[string]string{"x.k8s.io/y": "1"}, map[string]string{"x.k8s.io/y": "2"}, []string{"x.k8s.io/y"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := forbiddenLabels(c.before, c.after); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestNodeOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		user user.Info
		node string
		is   bool
	}{
		{"a node of the nodes' group", &user.DefaultInfo{Name: "system:node:n", Groups: []string{user.NodesGroup}}, "n", true},
		{"the name alone does not make a node", &user.DefaultInfo{Name: "system:node:n"}, "", false},
		{"nor the group alone", &user.DefaultInfo{Name: "n", Groups: []string{user.NodesGroup}}, "", false},
		{"nobody is none", nil, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if node, is := nodeOf(c.user); node != c.node || is != c.is {
				t.Errorf("got %q, %v", node, is)
			}
		})
	}
}

func TestMountToken(t *testing.T) {
	t.Parallel()
	own := api.VolumeMount{Name: "own", MountPath: tokenMountPath}
	for _, c := range []struct {
		name    string
		pod     api.PodSpec
		volumes int
		mounts  []int // of each container
	}{
		{"every container gets it once", api.PodSpec{Containers: []api.Container{{}, {}}}, 1, []int{1, 1}},
		{"what is at its path stays", api.PodSpec{Containers: []api.Container{{VolumeMounts: []api.VolumeMount{own}}, {}}}, 1, []int{1, 1}},
		{"nobody needs it: no volume", api.PodSpec{Containers: []api.Container{{VolumeMounts: []api.VolumeMount{own}}}}, 0, []int{1}},
		{"a volume of that name is used again", api.PodSpec{Volumes: []api.Volume{{Name: tokenVolume + "-abcde"}}, Containers: []api.Container{{}}}, 1, []int{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pod := &api.Pod{Spec: c.pod}
			mountToken(pod)
			if len(pod.Spec.Volumes) != c.volumes {
				t.Errorf("got volumes %+v", pod.Spec.Volumes)
			}
			for i, want := range c.mounts {
				if got := pod.Spec.Containers[i].VolumeMounts; len(got) != want {
					t.Errorf("container %d: got %+v", i, got)
				}
			}
		})
	}
}

func TestTolerates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		toleration api.Toleration
		want       bool
	}{
		{"the key with NoExecute", api.Toleration{Key: "k", Effect: api.TaintEffectNoExecute}, true},
		{"the key with every effect", api.Toleration{Key: "k"}, true},
		{"every key", api.Toleration{Operator: api.TolerationOpExists}, true},
		{"another effect", api.Toleration{Key: "k", Effect: api.TaintEffectNoSchedule}, false},
		{"another key", api.Toleration{Key: "l"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := tolerates([]api.Toleration{c.toleration}, "k"); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestPodsOfARuntimeClassAreRefused(t *testing.T) {
	t.Parallel()
	name := "gvisor"
	for _, c := range []struct {
		name string
		spec api.PodSpec
		want string
	}{
		{"an ordinary pod is let in", api.PodSpec{}, ""},
		{"one of a class is not", api.PodSpec{RuntimeClassName: &name}, `pod rejected: RuntimeClass "gvisor" not found`},
		{"nor one with an overhead", api.PodSpec{Overhead: api.ResourceList{api.ResourceCPU: resource.MustParse("1")}}, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := withoutRuntimeClass(&api.Pod{Spec: c.spec}); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
