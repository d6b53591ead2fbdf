package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apiserver/pkg/admission"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/scheduling"

	"kubus.dev/proto"
)

// priority is upstream's Priority plugin: a pod's priority is that of its class.
type priority struct {
	*admission.Handler
	classes *lookup[schedulingv1.PriorityClass]
}

func newPriority(source Source) priority {
	return priority{admission.NewHandler(admission.Create, admission.Update),
		newLookup[schedulingv1.PriorityClass](source, proto.GroupResource{Group: "scheduling.k8s.io", Resource: "priorityclasses"})}
}

func (p priority) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := podOf(a)
	if pod == nil {
		return nil
	}
	if a.GetOperation() == admission.Update {
		keepPriority(pod, a.GetOldObject())
		return nil
	}
	class, err := p.classOf(ctx, a, pod.Spec.PriorityClassName)
	if err != nil {
		return err
	}
	pod.Spec.PriorityClassName = class.Name
	if given := pod.Spec.Priority; given != nil && *given != class.Value {
		return admission.NewForbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *given, class.Value))
	}
	value := class.Value
	pod.Spec.Priority = &value
	if class.PreemptionPolicy == nil {
		return nil
	}
	policy := api.PreemptionPolicy(*class.PreemptionPolicy)
	if given := pod.Spec.PreemptionPolicy; given != nil && *given != policy {
		return admission.NewForbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *given, policy))
	}
	pod.Spec.PreemptionPolicy = &policy
	return nil
}

// keepPriority lets old clients leave out what was set at creation.
func keepPriority(pod *api.Pod, old any) {
	before, ok := old.(*api.Pod)
	if !ok {
		return
	}
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = before.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = before.Spec.PreemptionPolicy
	}
}

// classOf gives the named class, or the cluster's default.
func (p priority) classOf(ctx context.Context, a admission.Attributes, name string) (*schedulingv1.PriorityClass, error) {
	if name == "" {
		class, err := p.defaultClass()
		if err != nil {
			return nil, fmt.Errorf("error occurred while retrieving default priority class: %w", err)
		}
		if class == nil {
			class = &schedulingv1.PriorityClass{Value: scheduling.DefaultPriorityWhenNoDefaultClassExists}
			lower := corev1.PreemptLowerPriority
			class.PreemptionPolicy = &lower
		}
		return class, nil
	}
	class, err := p.classes.get("", name)
	if err == nil && class == nil {
		class, err = p.classes.latest(ctx, "", name)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to resolve PriorityClass with name %s: %w", name, err)
	}
	if class == nil {
		return nil, admission.NewForbidden(a, fmt.Errorf("no PriorityClass with name %v was found", name))
	}
	return class, nil
}

// defaultClass is the global default with the lowest value; nil without one.
func (p priority) defaultClass() (*schedulingv1.PriorityClass, error) {
	var found *schedulingv1.PriorityClass
	err := p.classes.all(func(class *schedulingv1.PriorityClass) bool {
		if class.GlobalDefault && (found == nil || found.Value > class.Value) {
			found = class
		}
		return true
	})
	return found, err
}

func (p priority) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	class, ok := a.GetObject().(*scheduling.PriorityClass)
	if !ok || a.GetSubresource() != "" || !class.GlobalDefault {
		return nil
	}
	present, err := p.defaultClass()
	if err != nil {
		return fmt.Errorf("failed to get default priority class: %w", err)
	}
	if present != nil && (a.GetOperation() == admission.Create || present.Name != class.Name) {
		return admission.NewForbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", present.Name))
	}
	return nil
}
