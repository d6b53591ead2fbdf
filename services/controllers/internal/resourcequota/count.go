package resourcequota

import (
	"errors"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"kubus.dev/proto"
)

// holdings is what there is in one namespace, read when it is asked for.
type holdings interface {
	Pods() []*corev1.Pod
	Services() []*corev1.Service
	Claims() []*corev1.PersistentVolumeClaim
	DeviceClaims() []*resourcev1.ResourceClaim
	// Classes are the cluster's.
	Classes() []*resourcev1.DeviceClass
	// Objects counts the objects of a kind; false where the API serves no such
	// collection of objects that quotas may limit.
	Objects(gr proto.GroupResource) (int64, bool)
}

// meter counts one kind of object, as upstream's Evaluators do.
type meter struct {
	// of is true of the resource names that it counts for.
	of func(name corev1.ResourceName) bool
	// uses gives what each object of the kind in all scopes uses.
	uses func(scopes []scope, now time.Time) ([]corev1.ResourceList, error)
}

// count gives what a quota's status is to be. again is when the passing of time alone
// may change it, zero for never. An error tells of what could not be counted: of that
// the status repeats what it said before, and all else is right.
func count(quota *corev1.ResourceQuota, in holdings, now time.Time) (status corev1.ResourceQuotaStatus, again time.Duration, err error) {
	status.Hard, status.Used = corev1.ResourceList{}, corev1.ResourceList{}
	for name, limit := range quota.Spec.Hard {
		status.Hard[name] = limit.DeepCopy()
		if used, ok := quota.Status.Used[name]; ok {
			status.Used[name] = used.DeepCopy()
		}
	}
	scopes := scopesOf(quota)
	names := slices.Sorted(maps.Keys(quota.Spec.Hard))
	counted, broken := corev1.ResourceList{}, map[corev1.ResourceName]bool{}
	var errs []error
	for _, m := range meters(in, names) {
		var mine []corev1.ResourceName
		for _, name := range names {
			if m.of(name) {
				mine = append(mine, name)
			}
		}
		if len(mine) == 0 {
			continue
		}
		sums, failed := m.sum(mine, scopes, now)
		if failed != nil {
			errs = append(errs, failed)
			for _, name := range mine {
				broken[name] = true
			}
			continue
		}
		addTo(counted, sums)
	}
	for name, used := range counted {
		if !broken[name] {
			status.Used[name] = used
		}
	}
	if limitsPods(names) {
		again = firstOverdue(in.Pods(), now)
	}
	return status, again, errors.Join(errs...)
}

func (m meter) sum(names []corev1.ResourceName, scopes []scope, now time.Time) (corev1.ResourceList, error) {
	sums := corev1.ResourceList{}
	for _, name := range names {
		sums[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	uses, err := m.uses(scopes, now)
	if err != nil {
		return nil, err
	}
	for _, use := range uses {
		for _, name := range names {
			if amount, ok := use[name]; ok {
				sum := sums[name]
				sum.Add(amount)
				sums[name] = sum
			}
		}
	}
	return sums, nil
}

// meters are those that may count for a quota of these names.
func meters(in holdings, names []corev1.ResourceName) []meter {
	all := []meter{
		{ofPods, func(scopes []scope, now time.Time) ([]corev1.ResourceList, error) {
			return each(in.Pods(), scopes, podIn, func(pod *corev1.Pod) corev1.ResourceList { return podUse(pod, now) })
		}},
		{ofServices, func(scopes []scope, _ time.Time) ([]corev1.ResourceList, error) {
			return each(in.Services(), scopes, inNoScope, serviceUse)
		}},
		{ofClaims, func(scopes []scope, _ time.Time) ([]corev1.ResourceList, error) {
			return each(in.Claims(), scopes, claimIn, claimUse)
		}},
		deviceMeter(in),
	}
	for _, name := range names {
		if m, ok := objectMeter(in, name); ok {
			all = append(all, m)
		}
	}
	return all
}

// each gives the use of those objects that are in all scopes.
func each[T any](objects []*T, scopes []scope, in func(*T, scope) (bool, error), use func(*T) corev1.ResourceList) ([]corev1.ResourceList, error) {
	var uses []corev1.ResourceList
next:
	for _, object := range objects {
		for _, s := range scopes {
			match, err := in(object, s)
			if err != nil { // as upstream: a scope that says nothing is met by nothing
				return nil, nil
			}
			if !match {
				continue next
			}
		}
		uses = append(uses, use(object))
	}
	return uses, nil
}

// equal compares what a status says.
func equal(a, b corev1.ResourceList) bool {
	return len(a) == len(b) && maps.EqualFunc(a, b, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
}

// outdated is true where a status says not what the spec asks for, and false where
// the numbers alone may be wrong.
func outdated(quota *corev1.ResourceQuota) bool {
	return quota.Status.Hard == nil || quota.Status.Used == nil || !equal(quota.Spec.Hard, quota.Status.Hard)
}

func addTo(sums, more corev1.ResourceList) {
	for name, amount := range more {
		sum, ok := sums[name]
		if !ok {
			sum = resource.Quantity{Format: amount.Format}
		}
		sum.Add(amount)
		sums[name] = sum
	}
}
