package shape

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	features "k8s.io/component-helpers/nodedeclaredfeatures"
)

// release is the Kubernetes version whose features a node may lack.
var release = version.MustParseSemantic("1.37.0")

// featuresOf are the features that the pod's node must declare.
func featuresOf(spec *corev1.PodSpec) []string {
	needed, err := features.DefaultFramework.InferForPodScheduling(&features.PodInfo{Spec: spec}, release)
	if err != nil || needed.IsEmpty() {
		return nil
	}
	names, err := features.DefaultFramework.Unmap(needed)
	if err != nil {
		return nil
	}
	return names
}
