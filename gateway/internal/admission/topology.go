package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	api "k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/proto"
)

// topologyLabels is PodTopologyLabels: a pod that gets a node carries the node's
// zone and region.
type topologyLabels struct {
	*admission.Handler
	source Source
}

func newTopologyLabels(source Source) topologyLabels {
	return topologyLabels{admission.NewHandler(admission.Create), source}
}

func (t topologyLabels) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if pod := podOf(a); pod != nil && pod.Spec.NodeName != "" {
		t.copyTo(&pod.Labels, pod.Spec.NodeName)
		return nil
	}
	binding, ok := a.GetObject().(*api.Binding)
	if ok && a.GetResource().GroupResource() == api.Resource("pods") && a.GetSubresource() == "binding" && binding.Target.Kind == "Node" {
		t.copyTo(&binding.Labels, binding.Target.Name)
	}
	return nil
}

func (t topologyLabels) copyTo(labels *map[string]string, node string) {
	gr := proto.GroupResource{Resource: "nodes"}
	entry := t.source.View(gr).Get(gr, "", node)
	if entry == nil {
		return
	}
	for _, label := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		value, ok := entry.Meta().Labels[label]
		if !ok {
			continue
		}
		if *labels == nil {
			*labels = map[string]string{}
		}
		(*labels)[label] = value
	}
}
