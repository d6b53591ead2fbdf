package node

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
)

func TestTheAPILetsWholePodsAndInitContainersBeResizedHere(t *testing.T) {
	t.Parallel()
	node := Build(settings(), machine(), State{}, nil, time.Unix(0, 0))
	size := corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}}
	for name, spec := range map[string]func(corev1.ResourceRequirements) corev1.PodSpec{
		"whole pods": func(r corev1.ResourceRequirements) corev1.PodSpec { return corev1.PodSpec{Resources: &r} },
		"init containers": func(r corev1.ResourceRequirements) corev1.PodSpec {
			return corev1.PodSpec{InitContainers: []corev1.Container{{Name: "i", Resources: r}}}
		},
	} {
		from, to := spec(corev1.ResourceRequirements{}), spec(size)
		needs, err := nodedeclaredfeatures.DefaultFramework.InferForPodUpdate(&nodedeclaredfeatures.PodInfo{Spec: &from},
			&nodedeclaredfeatures.PodInfo{Spec: &to}, version.MustParse("1.37.2"))
		if err != nil || needs.IsEmpty() {
			t.Fatalf("%s: needs %v, %v", name, needs, err)
		}
		match, err := nodedeclaredfeatures.DefaultFramework.MatchNode(needs, node)
		if err != nil || !match.IsMatch {
			t.Errorf("%s: %+v, %v; the node declares %q", name, match, err, node.Status.DeclaredFeatures)
		}
	}
}
