package admission

import (
	"context"
	"slices"

	"k8s.io/apiserver/pkg/admission"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Source is where plugins read the cluster.
type Source interface {
	View(gr proto.GroupResource) *statelog.View
	// Barrier brings the view to everything that was acknowledged before the call.
	Barrier(ctx context.Context, gr proto.GroupResource) (uint64, error)
}

// New makes the chain of the built-in plugins without those named.
func New(source Source, without ...string) admission.Interface {
	chain := plugins{}
	for _, p := range []struct {
		name   string
		plugin plugin
	}{
		{"NamespaceLifecycle", newLifecycle(source)},
		{"ServiceAccount", newServiceAccount(source)},
		{"DefaultTolerationSeconds", tolerations{}},
		{"Priority", newPriority(source)},
		{"RuntimeClass", newRuntimeClass()},
		{"PodTopologyLabels", newTopologyLabels(source)},
		{"NodeRestriction", newNodeRestriction(source)},
	} {
		if !slices.Contains(without, p.name) {
			chain = append(chain, p.plugin)
		}
	}
	return chain
}

// plugins runs mutation of all, then validation of all.
type plugins []plugin

type plugin interface {
	Handles(admission.Operation) bool
}

// Handles says whether any plugin cares about the operation.
func (p plugins) Handles(operation admission.Operation) bool {
	for _, plugin := range p {
		if plugin.Handles(operation) {
			return true
		}
	}
	return false
}

// Admit lets the plugins change the object, in order.
func (p plugins) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, plugin := range p {
		if m, ok := plugin.(admission.MutationInterface); ok && m.Handles(a.GetOperation()) {
			if err := m.Admit(ctx, a, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate lets the plugins refuse the object as it will be stored.
func (p plugins) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	for _, plugin := range p {
		if v, ok := plugin.(admission.ValidationInterface); ok && v.Handles(a.GetOperation()) {
			if err := v.Validate(ctx, a, o); err != nil {
				return err
			}
		}
	}
	return nil
}
