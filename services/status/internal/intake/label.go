package intake

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// kubeletLabels are the labels of Kubernetes' own domains that a node may give
// itself (k8s.io/kubelet/pkg/apis), beside those below node.kubernetes.io and
// kubelet.kubernetes.io.
var kubeletLabels = map[string]bool{
	corev1.LabelHostname: true, corev1.LabelOSStable: true, corev1.LabelArchStable: true, "beta.kubernetes.io/os": true, "beta.kubernetes.io/arch": true,
	corev1.LabelTopologyZone: true, corev1.LabelTopologyRegion: true, corev1.LabelFailureDomainBetaZone: true, corev1.LabelFailureDomainBetaRegion: true,
	corev1.LabelInstanceType: true, corev1.LabelInstanceTypeStable: true,
}

// ownLabels are those of the labels that a node may give itself. The gateway's
// NodeRestriction says the same of nodes that write their object; this service writes
// in its own name, so it has to ask.
func ownLabels(labels map[string]string) map[string]string {
	own := make(map[string]string, len(labels))
	for key, value := range labels {
		if ownLabel(key) {
			own[key] = value
		}
	}
	return own
}

func ownLabel(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	if domain == key || kubeletLabels[key] {
		return true
	}
	below := func(parent string) bool { return domain == parent || strings.HasSuffix(domain, "."+parent) }
	switch {
	case below(corev1.LabelNamespaceNodeRestriction):
		return false
	case below(corev1.LabelNamespaceSuffixKubelet), below(corev1.LabelNamespaceSuffixNode):
		return true
	}
	return !below("kubernetes.io") && !below("k8s.io")
}

// newNode is the object of a node that registers: what a node may say of itself when
// it does, and nothing else of what was reported.
func newNode(reported *corev1.Node) *corev1.Node {
	node := &corev1.Node{}
	node.APIVersion, node.Kind = "v1", "Node"
	node.Name, node.Labels, node.Annotations = reported.Name, ownLabels(reported.Labels), reported.Annotations
	node.Spec.Taints, node.Spec.Unschedulable, node.Spec.ProviderID = reported.Spec.Taints, reported.Spec.Unschedulable, reported.Spec.ProviderID
	node.Status = reported.Status
	return node
}
