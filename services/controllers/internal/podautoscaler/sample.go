package podautoscaler

import (
	"errors"
	"math"
	"time"
)

// sample is a metric's value of one pod: milli-units, over a window that ended at.
type sample struct {
	at     time.Time
	window time.Duration
	value  int64
}

// samples are by pod name.
type samples map[string]sample

// measured is what the status shows of a metric: the average over pods, and for a
// utilization its percentage of what the pods request.
type measured struct {
	average    int64
	percentage int32
}

// ratioOf compares what pods use with what they should.
type ratioOf func(samples) (ratio float64, m measured, err error)

// toRequests compares with a percentage of what each pod requests.
func toRequests(requests map[string]int64, target int32) ratioOf {
	return func(of samples) (float64, measured, error) {
		var used, requested, pods int64
		for name, s := range of {
			if request, ok := requests[name]; ok {
				used, requested, pods = used+s.value, requested+request, pods+1
			}
		}
		if requested == 0 {
			return 0, measured{}, errors.New("no metrics returned matched known pods")
		}
		m := measured{average: used / pods, percentage: int32(used * 100 / requested)}
		return float64(m.percentage) / float64(target), m, nil
	}
}

// toAverage compares with a value for each pod.
func toAverage(target int64) ratioOf {
	return func(of samples) (float64, measured, error) {
		var used int64
		for _, s := range of {
			used += s.value
		}
		m := measured{average: used / int64(len(of))}
		return float64(m.average) / float64(target), m, nil
	}
}

// tolerances are how far usage may be off the target, as parts of it, before anything is
// done.
type tolerances struct{ down, up float64 }

func (t tolerances) hold(ratio float64) bool { return 1-t.down <= ratio && ratio <= 1+t.up }

// ceil rounds up to a number of replicas, the largest there is at most.
func ceil(x float64) int32 {
	if x > math.MaxInt32 {
		return math.MaxInt32
	}
	return int32(math.Ceil(x))
}
