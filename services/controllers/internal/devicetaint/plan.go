package devicetaint

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	dra "k8s.io/dynamic-resource-allocation/resourceclaim"
)

type (
	claim = resourcev1.ResourceClaim
	slice = resourcev1.ResourceSlice
	rule  = resourcev1.DeviceTaintRule
)

// taint is one on a device; of a rule, or of the driver.
type taint struct {
	resourcev1.DeviceTaint
	Rule *rule
}

// sight is what is known of devices.
type sight interface {
	// Pool gives the slices of a driver's pool, those of older generations too.
	Pool(driver, pool string) []*slice
	Rules() []*rule
	Claim(namespace, name string) *claim
}

// eviction is when a pod is to go and which rules want it.
type eviction struct {
	At    time.Time
	Rules []*rule
}

// evictionOf is when a pod is to go, nil for never: the earliest of its claims, and
// the rules of all.
func evictionOf(pod *corev1.Pod, in sight) *eviction {
	if pod.Spec.NodeName == "" {
		return nil
	}
	var all *eviction
	for name, owned := range dra.PodClaims(pod) {
		c := in.Claim(pod.Namespace, name)
		if c == nil || owned && dra.IsForPod(pod, c, false) != nil || !dra.IsReservedForPod(pod, c, false) {
			continue
		}
		if one := evictionFrom(c, in); one != nil {
			all = all.join(one.At, one.Rules...)
		}
	}
	return all
}

// evictionFrom is when the pods of a claim are to go.
func evictionFrom(c *claim, in sight) (all *eviction) {
	if c.Status.Allocation == nil {
		return nil
	}
	for i := range c.Status.Allocation.Devices.Results {
		device := &c.Status.Allocation.Devices.Results[i]
		for _, t := range taints(device.Driver, device.Pool, device.Device, in) {
			if after, forever := tolerated(t.DeviceTaint, device.Tolerations); !forever && t.TimeAdded != nil {
				all = all.join(t.TimeAdded.Add(after), t.rules()...)
			}
		}
	}
	return all
}

func (e *eviction) join(at time.Time, rules ...*rule) *eviction {
	if e == nil {
		return &eviction{at, rules}
	}
	joined := &eviction{e.At, slices.Clone(e.Rules)}
	if at.Before(e.At) {
		joined.At = at
	}
	for _, r := range rules {
		if !slices.ContainsFunc(joined.Rules, func(known *rule) bool { return known.UID == r.UID }) {
			joined.Rules = append(joined.Rules, r)
		}
	}
	return joined
}

func (t taint) rules() []*rule {
	if t.Rule == nil {
		return nil
	}
	return []*rule{t.Rule}
}

// taints are those of a device that end pods.
func taints(driver, pool, device string, in sight) (all []taint) {
	for _, d := range newest(in.Pool(driver, pool)) {
		if d.Name != device {
			continue
		}
		for _, t := range d.Taints {
			if t.Effect == resourcev1.DeviceTaintEffectNoExecute {
				all = append(all, taint{t, nil})
			}
		}
	}
	for _, r := range in.Rules() {
		if r.Spec.Taint.Effect == resourcev1.DeviceTaintEffectNoExecute && selects(r, driver, pool, device) {
			all = append(all, taint{r.Spec.Taint, r})
		}
	}
	return all
}

// newest are the devices of a pool's latest generation.
func newest(pool []*slice) (devices []*resourcev1.Device) {
	var latest int64
	for _, s := range pool {
		latest = max(latest, s.Spec.Pool.Generation)
	}
	for _, s := range pool {
		if s.Spec.Pool.Generation == latest {
			for i := range s.Spec.Devices {
				devices = append(devices, &s.Spec.Devices[i])
			}
		}
	}
	return devices
}

// selects is true when all that a rule names is the device's; a rule without a
// selector selects none.
func selects(r *rule, driver, pool, device string) bool {
	s := r.Spec.DeviceSelector
	is := func(want *string, have string) bool { return want == nil || *want == have }
	return s != nil && is(s.Driver, driver) && is(s.Pool, pool) && is(s.Device, device)
}

// tolerated is for how long a taint is: for the shortest of those that match.
func tolerated(t resourcev1.DeviceTaint, by []resourcev1.DeviceToleration) (after time.Duration, forever bool) {
	some := false
	for _, toleration := range by {
		if toleration.Effect != resourcev1.DeviceTaintEffectNoExecute || !dra.ToleratesTaint(toleration, t) {
			continue
		}
		if toleration.TolerationSeconds == nil {
			return 0, true
		}
		if d := time.Duration(max(0, *toleration.TolerationSeconds)) * time.Second; !some || d < after {
			some, after = true, d
		}
	}
	return after, false
}
