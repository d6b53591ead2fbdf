package resourcequota

import (
	"cmp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const countDeviceClaims corev1.ResourceName = "count/resourceclaims.resource.k8s.io"

// deviceMeter counts ResourceClaims, and the devices that they ask for by class, in
// all names that a class has: its own, the implicit and the explicit extended resource.
func deviceMeter(in holdings) meter {
	return meter{
		of: func(name corev1.ResourceName) bool {
			if name == countDeviceClaims || strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass) {
				return true
			}
			if class, ok := strings.CutPrefix(string(name), corev1.ResourceImplicitExtendedClaimsPerClass); ok && explicit(in.Classes(), class) != "" {
				return true
			}
			return extendedRequest(name) && named(in.Classes(), strings.TrimPrefix(string(name), corev1.DefaultResourceRequestsPrefix))
		},
		uses: func(scopes []scope, now time.Time) ([]corev1.ResourceList, error) {
			return each(in.DeviceClaims(), scopes, inNoScope, func(c *resourcev1.ResourceClaim) corev1.ResourceList {
				return deviceUse(c, in, now)
			})
		},
	}
}

// explicit is the extended resource that a class says it is.
func explicit(classes []*resourcev1.DeviceClass, class string) string {
	for _, c := range classes {
		if c.Name == class && c.Spec.ExtendedResourceName != nil {
			return *c.Spec.ExtendedResourceName
		}
	}
	return ""
}

// named is true when a class goes by an extended resource's name.
func named(classes []*resourcev1.DeviceClass, name string) bool {
	implicit, isImplicit := strings.CutPrefix(name, resourcev1.ResourceDeviceClassPrefix)
	for _, c := range classes {
		if isImplicit && c.Name == implicit || c.Spec.ExtendedResourceName != nil && *c.Spec.ExtendedResourceName == name {
			return true
		}
	}
	return false
}

func deviceUse(c *resourcev1.ResourceClaim, in holdings, now time.Time) corev1.ResourceList {
	use := corev1.ResourceList{countDeviceClaims: one()}
	for i := range c.Spec.Devices.Requests {
		addTo(use, devices(&c.Spec.Devices.Requests[i]))
	}
	extendDevices(use, in.Classes(), coveredByPod(c, in, now))
	return use
}

// devices are those of one request. Of alternatives the one counts, for each class,
// that asks for the most.
func devices(r *resourcev1.DeviceRequest) corev1.ResourceList {
	most := corev1.ResourceList{}
	note := func(class string, mode resourcev1.DeviceAllocationMode, count int64) {
		if mode == resourcev1.DeviceAllocationModeAll {
			count = resourcev1.AllocationResultsMaxSize
		} else if mode != resourcev1.DeviceAllocationModeExactCount {
			count = 0
		}
		name, amount := corev1.ResourceName(class+corev1.ResourceClaimsPerClass), *resource.NewQuantity(count, resource.DecimalSI)
		if known, ok := most[name]; !ok || amount.Cmp(known) > 0 {
			most[name] = amount
		}
	}
	switch {
	case len(r.FirstAvailable) > 0:
		for i := range r.FirstAvailable {
			note(r.FirstAvailable[i].DeviceClassName, r.FirstAvailable[i].AllocationMode, r.FirstAvailable[i].Count)
		}
	case r.Exactly != nil:
		note(r.Exactly.DeviceClassName, r.Exactly.AllocationMode, r.Exactly.Count)
	}
	return most
}

// extendDevices counts devices under their extended names too, beyond what the pod
// is charged for that the claim was made for.
func extendDevices(use corev1.ResourceList, classes []*resourcev1.DeviceClass, pod corev1.ResourceList) {
	more := corev1.ResourceList{}
	for name, amount := range use {
		class, ok := strings.CutSuffix(string(name), corev1.ResourceClaimsPerClass)
		if !ok || class == "" {
			continue
		}
		more[corev1.ResourceName(corev1.ResourceImplicitExtendedClaimsPerClass+class)] = amount
		if name := explicit(classes, class); name != "" {
			more[corev1.ResourceName(corev1.DefaultResourceRequestsPrefix+name)] = amount
		}
	}
	for name, amount := range more {
		amount = amount.DeepCopy()
		if charged, ok := pod[name]; ok {
			amount.Sub(charged)
		}
		if amount.Sign() > 0 {
			use[name] = amount
		}
	}
}

// coveredByPod is what the pod uses for whose extended resources the scheduler made
// the claim, as far as pod and claim agree on that; nil otherwise.
func coveredByPod(c *resourcev1.ResourceClaim, in holdings, now time.Time) corev1.ResourceList {
	owner := podOwner(c)
	if owner == nil {
		return nil
	}
	for _, p := range in.Pods() {
		if p.Name != owner.Name || p.UID != owner.UID {
			continue
		}
		if s := p.Status.ExtendedResourceClaimStatus; s != nil && s.ResourceClaimName != c.Name {
			return nil
		} else if s == nil && !firstOf(c, in.DeviceClaims()) {
			return nil
		}
		return podUse(p, now)
	}
	return nil
}

// podOwner is the pod whose extended resources a claim stands for.
func podOwner(c *resourcev1.ResourceClaim) *metav1.OwnerReference {
	owner := metav1.GetControllerOfNoCopy(c)
	if c.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" || owner == nil || owner.Kind != "Pod" || owner.APIVersion != "v1" {
		return nil
	}
	return owner
}

// firstOf is true of the oldest claim for the extended resources of its pod.
func firstOf(c *resourcev1.ResourceClaim, all []*resourcev1.ResourceClaim) bool {
	for _, other := range all {
		owner := podOwner(other)
		if owner == nil || owner.UID != podOwner(c).UID {
			continue
		}
		if cmp.Or(other.CreationTimestamp.Compare(c.CreationTimestamp.Time), strings.Compare(other.Name, c.Name)) < 0 {
			return false
		}
	}
	return true
}
