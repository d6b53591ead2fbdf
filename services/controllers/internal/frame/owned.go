package frame

import (
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/mirror"
)

// Owned wakes those of owners that control a child that changed, before or after, and
// for an orphan all whose selector (nil: none) names it.
func Owned[C, O any](children *mirror.Kind[C], owners *mirror.Kind[O], selector func(*O) (labels.Selector, error)) Trigger[types.NamespacedName] {
	return owned(children, owners, selector, true)
}

// OwnedLater is Owned, but that a child which appears with its owner wakes nobody: who
// makes it knows of it. Revisions are so upstream, where somebody else may make one
// without having it taken for a duplicate at once.
func OwnedLater[C, O any](children *mirror.Kind[C], owners *mirror.Kind[O], selector func(*O) (labels.Selector, error)) Trigger[types.NamespacedName] {
	return owned(children, owners, selector, false)
}

func owned[C, O any](children *mirror.Kind[C], owners *mirror.Kind[O], selector func(*O) (labels.Selector, error), fresh bool) Trigger[types.NamespacedName] {
	kind := owners.GVK().Kind
	group := owners.GVK().Group
	wake := func(namespace string, owner *metav1.OwnerReference, add func(types.NamespacedName)) {
		if owner == nil || owner.Kind != kind {
			return
		}
		if of, err := groupOf(owner.APIVersion); err == nil && of == group {
			add(types.NamespacedName{Namespace: namespace, Name: owner.Name})
		}
	}
	changed := On(children, func(old, new *C, add func(types.NamespacedName)) {
		var before, after *metav1.OwnerReference
		var was, is metav1.Object
		if old != nil {
			was = any(old).(metav1.Object)
			before = metav1.GetControllerOfNoCopy(was)
			wake(was.GetNamespace(), before, add)
		}
		if new != nil {
			is = any(new).(metav1.Object)
			after = metav1.GetControllerOfNoCopy(is)
			if (fresh || old != nil) && (before == nil || after == nil || before.UID != after.UID) {
				wake(is.GetNamespace(), after, add)
			}
		}
		if new == nil || after != nil || is.GetDeletionTimestamp() != nil || len(is.GetLabels()) == 0 {
			return
		}
		if old != nil && before == nil && equality.Semantic.DeepEqual(was.GetLabels(), is.GetLabels()) {
			return
		}
		if selector == nil {
			return
		}
		for _, owner := range owners.List(is.GetNamespace()) {
			if s, err := selector(owner); err == nil && s.Matches(labels.Set(is.GetLabels())) {
				add(KeyOf(any(owner).(metav1.Object)))
			}
		}
	})
	return func(add func(types.NamespacedName)) func() {
		owners.Follow()
		return changed(add)
	}
}

func groupOf(apiVersion string) (string, error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	return gv.Group, err
}
