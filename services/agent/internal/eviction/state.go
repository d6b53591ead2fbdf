package eviction

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Observation is how much of something there is, and how much of it is left.
type Observation struct {
	Capacity, Available int64
}

// Observations are those of one look; a signal that could not be read is absent.
type Observations map[Signal]Observation

// State is what a node remembers of its shortages between one look and the next. The zero value
// remembers none; a State is never changed.
type State struct {
	met  map[int]time.Time // since when, by the place of the threshold
	acts map[int]bool      // thresholds whose grace is over: they hold until their reclaim is met too
	seen map[corev1.NodeConditionType]time.Time
}

// Finding is what a look at the node leads to.
type Finding struct {
	// Conditions are true now, or were within the transition period; sorted.
	Conditions []corev1.NodeConditionType
	// Due are thresholds for which pods must end, the most urgent first.
	Due []Threshold
}

// Next is the state after a look at the node, and what follows from it.
func (s State) Next(thresholds []Threshold, seen Observations, transition time.Duration, now time.Time) (State, Finding) {
	next := State{met: map[int]time.Time{}, acts: map[int]bool{}, seen: map[corev1.NodeConditionType]time.Time{}}
	for condition, at := range s.seen {
		next.seen[condition] = at
	}
	var f Finding
	for i := range thresholds {
		t := &thresholds[i]
		if !met(t, seen, s.acts[i]) {
			continue
		}
		since, known := s.met[i]
		if !known {
			since = now
		}
		next.met[i] = since
		next.seen[meanings[t.Signal].condition] = now
		if now.Sub(since) >= t.Grace {
			next.acts[i] = true
			f.Due = append(f.Due, *t)
		}
	}
	for condition, at := range next.seen {
		if now.Sub(at) >= transition && at != now {
			delete(next.seen, condition)
			continue
		}
		f.Conditions = append(f.Conditions, condition)
	}
	slices.Sort(f.Conditions)
	slices.SortStableFunc(f.Due, func(a, b Threshold) int { return urgency(a) - urgency(b) })
	return next, f
}

// met tells whether too little is left; with reclaim, whether less is than what is to be free
// once pods have ended.
func met(t *Threshold, seen Observations, reclaim bool) bool {
	o, ok := seen[t.Signal]
	if !ok {
		return false
	}
	least := t.Value.Of(o.Capacity).Value()
	if reclaim {
		least += t.Reclaim.Of(o.Capacity).Value()
	}
	return o.Available < least
}

// Relieved tells whether no threshold is met any more, what is to be reclaimed included.
func Relieved(thresholds []Threshold, seen Observations) bool {
	for i := range thresholds {
		if met(&thresholds[i], seen, true) {
			return false
		}
	}
	return true
}

func urgency(t Threshold) int {
	if t.Signal == MemoryAvailable {
		return 0
	}
	return 1
}
