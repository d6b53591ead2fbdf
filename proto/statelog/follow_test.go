package statelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"kubus.dev/proto"
)

func TestWhoFallsBehindBeginsAgain(t *testing.T) {
	t.Parallel()
	v := restarted(t, 2, stored(t, "+a@1<0", 0), stored(t, "+b@2<0", 0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last := uint64(2)
	burst := func() { // more than the window holds
		for range longWindow.events + 1 {
			v.receive(stored(t, fmt.Sprintf("a@%d<%d", last+1, last), 0))
			last++
		}
		v.receive(stored(t, fmt.Sprintf("-b@%d<2", last+1), 0))
		last++
	}
	var told []string
	err := Changes(ctx, v, pods, func(s Snapshot) {
		told = append(told, fmt.Sprintf("begin with %d at %d", s.Len(), s.Revision()))
		if last == 2 {
			burst() // while it is told of what there was
			return
		}
		v.receive(stored(t, fmt.Sprintf("+c@%d<0", last+1), 0))
	}, func(events []Event) {
		for _, ev := range events {
			told = append(told, fmt.Sprintf("%s %s@%d", ev.Type, ev.Entry.Key().Name, ev.Entry.Revision()))
		}
		cancel()
	})
	want := []string{"begin with 2 at 2", fmt.Sprintf("begin with 1 at %d", last), fmt.Sprintf("ADDED c@%d", last+1)}
	if !errors.Is(err, context.Canceled) || !slices.Equal(told, want) {
		t.Errorf("got %v, %q, want %q", err, told, want)
	}
}

func TestWhoFollowsMissesNoDeletionWhenItFallsBehind(t *testing.T) {
	t.Parallel()
	v := restarted(t, 2, stored(t, "+a@1<0", 0), stored(t, "+b@2<0", 0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	last := uint64(2)
	there := map[string]bool{}
	synced := 0
	err := Follow(ctx, v, pods, func(k proto.Key, e *Entry) {
		there[k.Name] = e != nil
		if k.Name == "b" && e == nil {
			cancel()
		}
	}, func() {
		synced++
		v.receive(stored(t, "-b@3<2", 0))
		for last = 3; last < uint64(longWindow.events)+10; last++ {
			v.receive(stored(t, fmt.Sprintf("a@%d<%d", last+1, last), 0))
		}
	})
	if !errors.Is(err, context.Canceled) || synced != 1 || !there["a"] || there["b"] {
		t.Errorf("got %v, synced %d times, %v", err, synced, there)
	}
}
