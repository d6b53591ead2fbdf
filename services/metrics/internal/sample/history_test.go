package sample

import (
	"fmt"
	"testing"
	"time"
)

// Rates by what a container burns in each reading's two seconds, in millicores. After each
// reading: the rate, and over how many seconds it is taken.
func TestOverWhatARateIsTaken(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		burns []int
		want  string
	}{
		{"a load that stays is averaged over 15 s", []int{100, 100, 100, 100, 100, 100, 100, 100, 100}, "100/2 100/4 100/6 100/8 100/10 100/12 100/14 100/14 100/14"},
		{"one that jumps is no other load", []int{92, 120, 80, 92, 130, 70, 110, 80, 100}, "92/2 106/4 97/6 96/8 102/10 97/12 99/14 97/14 94/14"},
		{"a single spike is spread over the window", []int{92, 92, 92, 92, 92, 92, 200, 92, 92}, "92/2 92/4 92/6 92/8 92/10 92/12 107/14 107/14 107/14"},
		{"a load that doubles is doubled at the second reading", []int{92, 92, 92, 92, 92, 184, 184, 184, 184}, "92/2 92/4 92/6 92/8 92/10 107/12 184/4 184/6 184/8"},
		{"at the third when it doubled late in the first", []int{92, 92, 92, 92, 92, 96, 184, 184, 184}, "92/2 92/4 92/6 92/8 92/10 92/12 105/14 184/4 184/6"},
		{"a load that ends is gone as fast", []int{184, 184, 184, 184, 0, 0, 0}, "184/2 184/4 184/6 184/8 147/10 0/4 0/6"},
		{"one that begins is there as fast", []int{0, 0, 0, 100, 100, 100}, "0/2 0/4 0/6 25/8 100/4 100/6"},
		{"one that rises slowly comes in slowly", []int{100, 100, 100, 110, 110, 110, 110}, "100/2 100/4 100/6 102/8 104/10 105/12 105/14"},
	} {
		var h history
		now := mark{at: began}
		h = h.then(now)
		got := ""
		for _, milli := range tc.burns {
			now.at = now.at.Add(2 * time.Second)
			now.cpu += uint64(milli) * uint64(2*time.Millisecond)
			h = h.then(now)
			got += fmt.Sprintf(" %d/%d", int(h.rate()/1e6), int(h.window().Seconds()))
		}
		if got != " "+tc.want {
			t.Errorf("%s: burning %v:\ngot %s\nwant %s", tc.name, tc.burns, got, tc.want)
		}
	}
}

// Where nobody reads, readings are as far apart as the span, or further.
func TestReadingsFarApartGiveTheRateBetweenThem(t *testing.T) {
	t.Parallel()
	for _, apart := range []time.Duration{15 * time.Second, time.Minute} {
		var h history
		for i := range 5 {
			h = h.then(mark{began.Add(time.Duration(i) * apart), uint64(i*i) * uint64(apart)})
			if i > 0 && (h.window() != apart || h.rate() != float64(2*i-1)*1e9) {
				t.Errorf("every %s: after %d readings %v over %s", apart, i+1, h.rate(), h.window())
			}
		}
	}
}
