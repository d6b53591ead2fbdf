package podautoscaler

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// target is what is scaled, as it is.
type target struct {
	spec, status int32 // replicas that are asked for, and that there are
	pods         []*corev1.Pod
	tolerances   tolerances
}

var (
	errNoPods    = errors.New("no pods returned by selector while calculating replica count")
	errNoSamples = errors.New("did not receive metrics for targeted pods (pods might be unready)")
)

// comparison is how samples are weighed: by a ratio, with full as what a pod without a
// sample is taken to use when the others use too little. It is made once samples are there.
type comparison func(t target) (ratio ratioOf, full func(name string) int64, err error)

// toUtilization compares with a percentage of what pods, or one container of each, request.
func toUtilization(metric corev1.ResourceName, container string, percentage int32) comparison {
	return func(t target) (ratioOf, func(string) int64, error) {
		requested, err := requests(t.pods, container, metric)
		full := func(name string) int64 { return requested[name] * int64(max(100, percentage)) / 100 }
		return toRequests(requested, percentage), full, err
	}
}

// toValue compares with a value a pod, in milli-units.
func toValue(value int64) comparison {
	return func(target) (ratioOf, func(string) int64, error) {
		return toAverage(value), func(string) int64 { return value }, nil
	}
}

// byPods gives the replicas that bring the pods' samples to a ratio of 1. When they use too
// much, pods without a sample and those not ready are taken to use nothing; too little, the
// former are taken to use what they should. So neither makes the change larger, and none
// turns it round.
func byPods(t target, of samples, metric corev1.ResourceName, by comparison, s Settings, now time.Time) (int32, measured, error) {
	if len(t.pods) == 0 {
		return 0, measured{}, errNoPods
	}
	g := group(t.pods, of, metric, s, now)
	of = maps.Clone(of)
	for _, name := range append(g.ignored[:len(g.ignored):len(g.ignored)], g.unready...) {
		delete(of, name)
	}
	if len(of) == 0 {
		return 0, measured{}, errNoSamples
	}
	ratio, full, err := by(t)
	if err != nil {
		return 0, measured{}, err
	}
	usage, m, err := ratio(of)
	if err != nil {
		return 0, m, err
	}
	rising := usage > 1 && len(g.unready) > 0
	if !rising && len(g.missing) == 0 {
		if t.tolerances.hold(usage) {
			return t.spec, m, nil
		}
		return ceil(usage * float64(g.ready)), m, nil
	}
	g.assume(of, usage, full)
	again, _, err := ratio(of)
	if err != nil {
		return 0, m, err
	}
	if t.tolerances.hold(again) || usage < 1 && again > 1 || usage > 1 && again < 1 {
		return t.spec, m, nil
	}
	replicas := ceil(again * float64(len(of)))
	if again < 1 && replicas > t.spec || again > 1 && replicas < t.spec {
		return t.spec, m, nil
	}
	return replicas, m, nil
}

// assume gives the pods without samples that count the most cautious ones.
func (g groups) assume(of samples, usage float64, full func(name string) int64) {
	for _, name := range g.missing {
		switch {
		case usage < 1:
			of[name] = sample{value: full(name)}
		case usage > 1:
			of[name] = sample{}
		}
	}
	if usage > 1 {
		for _, name := range g.unready {
			of[name] = sample{}
		}
	}
}

// byValue gives the replicas that bring one value of the whole to its target. With no
// replicas there are none that could be ready, and the ratio itself is their number.
func byValue(t target, value, want int64) (int32, error) {
	ratio := float64(value) / float64(want)
	if t.spec == 0 {
		return ceil(ratio), nil
	}
	if t.tolerances.hold(ratio) {
		return t.spec, nil
	}
	if len(t.pods) == 0 {
		return 0, fmt.Errorf("unable to calculate ready pods: %w", errNoPods)
	}
	return ceil(ratio * float64(readyPods(t.pods))), nil
}

// byShare gives the replicas that share one value of the whole as wanted, and what each
// has of it now.
func byShare(t target, value, want int64) (replicas int32, share int64) {
	replicas = t.status
	if !t.tolerances.hold(float64(value) / (float64(want) * float64(replicas))) {
		replicas = ceil(float64(value) / float64(want))
	}
	if value == math.MaxInt64 || t.status == 0 {
		return replicas, value
	}
	return replicas, int64(math.Ceil(float64(value) / float64(t.status)))
}

// total adds values; more than fits is the most that does.
func total(values []int64) int64 {
	var sum int64
	for _, v := range values {
		if v > 0 && sum > math.MaxInt64-v {
			return math.MaxInt64
		}
		sum += v
	}
	return sum
}
