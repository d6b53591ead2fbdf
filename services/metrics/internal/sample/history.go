package sample

import (
	"slices"
	"time"
)

const (
	// span is over how long a rate is taken, as metrics servers elsewhere do: what a load is,
	// and not how it jumps.
	span = 15 * time.Second
	// A load is another one when for two readings in a row it was so much more than before,
	// or so much less. What was before does not count then, so that a doubled load is known for
	// what it is after the second reading.
	more, less = 1.25, 0.8
)

// mark is what a CPU counter said at a time.
type mark struct {
	at  time.Time
	cpu uint64
}

// history is the marks of a counter that count, the oldest first. A rate is taken from the
// first to the last.
type history []mark

// then is the history with one more mark, which is later than the others; h stays as it is.
func (h history) then(m mark) history {
	h = append(slices.Clip(h), m)
	for len(h) > 2 && m.at.Sub(h[0].at) > span {
		h = slices.Delete(h, 0, 1)
	}
	if n := len(h); n > 3 && changed(h[:n-2].rate(), h[n-3:n-1].rate(), h[n-2:].rate()) {
		h = slices.Delete(h, 0, n-3)
	}
	return h
}

// changed tells whether the last two rates are of another load than the one before them.
func changed(before, first, second float64) bool {
	return min(first, second) > more*before || max(first, second) < less*before
}

// window is the time between the first mark and the last.
func (h history) window() time.Duration {
	if len(h) < 2 {
		return 0
	}
	return h[len(h)-1].at.Sub(h[0].at)
}

// rate is in nanoseconds a second, which is in nanocores.
func (h history) rate() float64 {
	if w := h.window(); w > 0 {
		return float64(h[len(h)-1].cpu-h[0].cpu) / w.Seconds()
	}
	return 0
}
