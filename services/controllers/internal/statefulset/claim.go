package statefulset

import (
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
)

var (
	podKind   = corev1.SchemeGroupVersion.WithKind("Pod")
	claimKind = corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim")
)

func claimName(set *appsv1.StatefulSet, template string, ordinal int) string {
	return template + "-" + podName(set, ordinal)
}

// claimed tells whether a claim's name is one that the set's templates give.
func claimed(set *appsv1.StatefulSet, name string) bool {
	prefix, number := split(name)
	return number >= 0 && slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(template corev1.PersistentVolumeClaim) bool {
		return prefix == template.Name+"-"+set.Name
	})
}

// newClaims are the claims of an ordinal as the templates give them.
func newClaims(set *appsv1.StatefulSet, ordinal int) []*corev1.PersistentVolumeClaim {
	out := make([]*corev1.PersistentVolumeClaim, len(set.Spec.VolumeClaimTemplates))
	for i := range out {
		c := set.Spec.VolumeClaimTemplates[i].DeepCopy()
		c.TypeMeta = metav1.TypeMeta{APIVersion: claimKind.GroupVersion().String(), Kind: claimKind.Kind}
		c.Name, c.Namespace = claimName(set, c.Name, ordinal), set.Namespace
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		if set.Spec.Selector != nil {
			maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
		}
		out[i] = c
	}
	return out
}

// claims are PersistentVolumeClaims of one namespace by name.
type claims map[string]*corev1.PersistentVolumeClaim

// missing are those of the pod's claims that do not exist. Those on their way out
// are an error: what uses them now would lose its data.
func (c claims) missing(set *appsv1.StatefulSet, p *corev1.Pod) (out []*corev1.PersistentVolumeClaim, blocked error) {
	var errs []error
	for _, wanted := range newClaims(set, ordinal(p)) {
		switch present := c[wanted.Name]; {
		case present == nil:
			own(set, p, wanted)
			out = append(out, wanted)
		case present.DeletionTimestamp != nil:
			errs = append(errs, fmt.Errorf("pvc %s is being deleted", wanted.Name))
		}
	}
	return out, utilerrors.NewAggregate(errs)
}

// misowned are those of the pod's claims whose owners are not as the retention
// policy has them, with the owners they are to have; conflicts are the names of
// those that another controller manages.
func (c claims) misowned(set *appsv1.StatefulSet, p *corev1.Pod) (out []*corev1.PersistentVolumeClaim, conflicts []string) {
	for i := range set.Spec.VolumeClaimTemplates {
		present := c[claimName(set, set.Spec.VolumeClaimTemplates[i].Name, ordinal(p))]
		if present == nil {
			continue
		}
		if foreign(set, p, present) {
			conflicts = append(conflicts, present.Name)
		}
		if !owned(set, p, present) {
			present = present.DeepCopy()
			own(set, p, present)
			out = append(out, present)
		}
	}
	return out, conflicts
}

// stale: a claim of this ordinal is still bound to die with an earlier pod of the
// name, so the new one has to wait until it is gone.
func (c claims) stale(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	if scaled, _ := retention(set); scaled == appsv1.RetainPersistentVolumeClaimRetentionPolicyType {
		return false
	}
	return slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(template corev1.PersistentVolumeClaim) bool {
		present := c[claimName(set, template.Name, ordinal(p))]
		return present != nil && outlived(present, p, podKind)
	})
}

// retention is the set's policy; what is not known counts as Retain.
func retention(set *appsv1.StatefulSet) (whenScaled, whenDeleted appsv1.PersistentVolumeClaimRetentionPolicyType) {
	const retain, remove = appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	policy := set.Spec.PersistentVolumeClaimRetentionPolicy
	if policy == nil || policy.WhenScaled != retain && policy.WhenScaled != remove || policy.WhenDeleted != retain && policy.WhenDeleted != remove {
		return retain, retain
	}
	return policy.WhenScaled, policy.WhenDeleted
}

// owners tells which objects a claim of the pod is to die with. A claim to be
// deleted on scaling down changes hands from the set to the pod when the pod's
// ordinal is not wanted any more.
func owners(set *appsv1.StatefulSet, p *corev1.Pod) (bySet, byPod bool) {
	const remove = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	scaled, deleted := retention(set)
	byPod = scaled == remove && !inRange(set, ordinal(p))
	return deleted == remove && !byPod, byPod
}

// owned tells whether a claim's owners are as they should be, or not ours to touch.
func owned(set *appsv1.StatefulSet, p *corev1.Pod, c *corev1.PersistentVolumeClaim) bool {
	if outlived(c, set, kind) || outlived(c, p, podKind) {
		return true // the garbage collector's
	}
	setOwns, podOwns := owns(set, c), owns(p, c)
	if foreign(set, p, c) {
		return !setOwns && !podOwns
	}
	for _, ref := range c.OwnerReferences {
		if (ref.UID == set.UID || ref.UID == p.UID) && (ref.Controller == nil || !*ref.Controller) {
			return false
		}
	}
	bySet, byPod := owners(set, p)
	return setOwns == bySet && podOwns == byPod
}

// own gives a claim the owners it should have. Where another controller manages it,
// set and pod only step back.
func own(set *appsv1.StatefulSet, p *corev1.Pod, c *corev1.PersistentVolumeClaim) {
	conflict := foreign(set, p, c)
	bySet, byPod := owners(set, p)
	c.OwnerReferences = slices.DeleteFunc(slices.Clone(c.OwnerReferences), func(ref metav1.OwnerReference) bool {
		return refersTo(&ref, set, kind) || refersTo(&ref, p, podKind)
	})
	if conflict {
		return
	}
	if byPod {
		c.OwnerReferences = append(c.OwnerReferences, *metav1.NewControllerRef(p, podKind))
	}
	if bySet {
		c.OwnerReferences = append(c.OwnerReferences, *metav1.NewControllerRef(set, kind))
	}
}

// foreign: with a policy that deletes, somebody else manages the claim, or an
// earlier set or pod of the name does.
func foreign(set *appsv1.StatefulSet, p *corev1.Pod, c *corev1.PersistentVolumeClaim) bool {
	const retain = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	if scaled, deleted := retention(set); scaled == retain && deleted == retain {
		return false
	}
	for _, ref := range c.OwnerReferences {
		switch {
		case refersTo(&ref, set, kind):
			if ref.UID != set.UID {
				return true
			}
		case refersTo(&ref, p, podKind):
			if ref.UID != p.UID {
				return true
			}
		case ref.Controller != nil && *ref.Controller:
			return true
		}
	}
	return false
}

// outlived: the claim names an owner of that name which is not this one.
func outlived(c *corev1.PersistentVolumeClaim, owner metav1.Object, kind schema.GroupVersionKind) bool {
	for _, ref := range c.OwnerReferences {
		if refersTo(&ref, owner, kind) {
			return ref.UID != owner.GetUID()
		}
	}
	return false
}

func owns(owner metav1.Object, c *corev1.PersistentVolumeClaim) bool {
	return slices.ContainsFunc(c.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == owner.GetUID() })
}

func refersTo(ref *metav1.OwnerReference, to metav1.Object, kind schema.GroupVersionKind) bool {
	return ref.APIVersion == kind.GroupVersion().String() && ref.Kind == kind.Kind && ref.Name == to.GetName()
}
