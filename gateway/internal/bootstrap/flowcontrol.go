package bootstrap

import (
	"context"
	"fmt"
	"strconv"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	flowbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"

	"kubus.dev/gateway/internal/resource"
)

// flowControl is upstream's configuration of priority and fairness: what it
// suggests, then what must be there.
func flowControl() []runtime.Object {
	var out []runtime.Object
	for _, levels := range [][]*flowcontrolv1.PriorityLevelConfiguration{flowbootstrap.SuggestedPriorityLevelConfigurations, flowbootstrap.MandatoryPriorityLevelConfigurations} {
		for _, level := range levels {
			level = level.DeepCopy()
			level.TypeMeta = typed("PriorityLevelConfiguration", flowcontrolv1.SchemeGroupVersion)
			out = append(out, level)
		}
	}
	for _, schemas := range [][]*flowcontrolv1.FlowSchema{flowbootstrap.SuggestedFlowSchemas, flowbootstrap.MandatoryFlowSchemas} {
		for _, schema := range schemas {
			schema = schema.DeepCopy()
			schema.TypeMeta = typed("FlowSchema", flowcontrolv1.SchemeGroupVersion)
			out = append(out, schema)
		}
	}
	return out
}

// mandatoryFlow says that the object named so is not for people to change.
func mandatoryFlow(want runtime.Object, name string) bool {
	switch want.(type) {
	case *flowcontrolv1.FlowSchema:
		for _, m := range flowbootstrap.MandatoryFlowSchemas {
			if m.Name == name {
				return true
			}
		}
	case *flowcontrolv1.PriorityLevelConfiguration:
		for _, m := range flowbootstrap.MandatoryPriorityLevelConfigurations {
			if m.Name == name {
				return true
			}
		}
	}
	return false
}

// revisedSchema gives the schema as it must be; live is changed.
func revisedSchema(live *flowcontrol.FlowSchema, want runtime.Object) (changed bool, err error) {
	var target flowcontrol.FlowSchema
	if err := defaulted(want, &target); err != nil {
		return false, err
	}
	follow := mandatoryFlow(want, live.Name) || followsBootstrap(&live.ObjectMeta)
	changed = setFollows(&live.ObjectMeta, follow)
	if follow && !apiequality.Semantic.DeepEqual(live.Spec, target.Spec) {
		live.Spec, changed = target.Spec, true
	}
	return changed, nil
}

// revisedLevel is revisedSchema for a priority level. The shares of the exempt level
// are people's to set.
func revisedLevel(live *flowcontrol.PriorityLevelConfiguration, want runtime.Object) (changed bool, err error) {
	var target flowcontrol.PriorityLevelConfiguration
	if err := defaulted(want, &target); err != nil {
		return false, err
	}
	if live.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt && live.Spec.Exempt != nil {
		target.Spec.Exempt = live.Spec.Exempt.DeepCopy()
	}
	follow := mandatoryFlow(want, live.Name) || followsBootstrap(&live.ObjectMeta)
	changed = setFollows(&live.ObjectMeta, follow)
	if follow && !apiequality.Semantic.DeepEqual(live.Spec, target.Spec) {
		live.Spec, changed = target.Spec, true
	}
	return changed, nil
}

// followsBootstrap says whether a suggested object's spec is ours to keep: as its
// annotation has it, else as long as nobody changed it.
func followsBootstrap(m *metav1.ObjectMeta) bool {
	if follow, err := strconv.ParseBool(m.Annotations[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil {
		return follow
	}
	return m.Generation == 1
}

func setFollows(m *metav1.ObjectMeta, follow bool) (changed bool) {
	if have, err := strconv.ParseBool(m.Annotations[flowcontrolv1.AutoUpdateAnnotationKey]); err == nil && have == follow {
		return false
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] = strconv.FormatBool(follow)
	return true
}

func defaulted(want, into runtime.Object) error {
	want = want.DeepCopyObject()
	resource.Scheme.Default(want)
	return resource.Scheme.Convert(want, into, nil)
}

// dropDangling removes what an earlier version made and this one does not want: the
// annotation tells it from what people made.
func (b *boot) dropDangling(ctx context.Context, wanted []runtime.Object) error {
	keep := map[string]bool{}
	for _, obj := range wanted {
		if accessor, err := meta.Accessor(obj); err == nil {
			keep[obj.GetObjectKind().GroupVersionKind().Kind+"/"+accessor.GetName()] = true
		}
	}
	for _, name := range []string{"FlowSchema", "PriorityLevelConfiguration"} {
		kind := kindOf(flowcontrolv1.SchemeGroupVersion.WithKind(name))
		store := b.o.Storage.Store(kind)
		list, err := store.List(b.context(ctx, kind, &metav1.ObjectMeta{}), nil)
		if err != nil {
			return fmt.Errorf("bootstrap: listing %s: %w", name, err)
		}
		err = meta.EachListItem(list, func(obj runtime.Object) error {
			accessor, err := meta.Accessor(obj)
			if err != nil {
				return err
			}
			follows, err := strconv.ParseBool(accessor.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey])
			if err != nil || !follows || keep[name+"/"+accessor.GetName()] {
				return nil
			}
			_, _, err = store.Delete(b.context(ctx, kind, accessor), accessor.GetName(), rest.ValidateAllObjectFunc, &metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("bootstrap: dropping old %s: %w", name, err)
		}
	}
	return nil
}
