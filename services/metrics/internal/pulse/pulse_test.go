package pulse

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestNodesAreAskedOftenWhileSomebodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var beats []time.Duration
		p := New(Periods{Slow: 15 * time.Second, Fast: 2 * time.Second, Linger: 5 * time.Second}, func() { beats = append(beats, time.Since(began)) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.Run(ctx)
		}()
		at := func(s int) { time.Sleep(time.Until(began.Add(time.Duration(s) * time.Second))) }
		at(16)
		p.Read() // the last beat was a second ago: the next comes at 17, and every 2 s until 21
		at(18)
		p.Read()
		at(50)
		p.Read() // long after the last beat: at once
		at(51)
		cancel()
		<-done
		var want []time.Duration
		for _, s := range []int{0, 15, 17, 19, 21, 23, 38, 50} {
			want = append(want, time.Duration(s)*time.Second)
		}
		if !slices.Equal(beats, want) {
			t.Errorf("asked at %v, want %v", beats, want)
		}
	})
}
