package flow

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestUsersTakeTurnsInTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(1)
		if err := l.enter(t.Context(), "first", waitingMost); err != nil {
			t.Fatal(err)
		}
		var order []string
		wait := func(user string) {
			go func() {
				if err := l.enter(t.Context(), user, waitingMost); err != nil {
					t.Error(err)
				}
				order = append(order, user)
				l.leave()
			}()
			synctest.Wait()
		}
		for range 3 {
			wait("greedy")
		}
		wait("polite")
		wait("other")
		if len(order) > 0 {
			t.Errorf("%v went beside another", order)
		}
		l.leave()
		synctest.Wait()
		if want := []string{"greedy", "polite", "other", "greedy", "greedy"}; !slices.Equal(order, want) {
			t.Errorf("got %v, want %v", order, want)
		}
		if l.busy != 0 || len(l.users) != 0 || len(l.waiting) != 0 {
			t.Errorf("after all: %d are served, %v wait", l.busy, l.users)
		}
	})
}

func TestTheLaneRefusesWhatDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane(2)
		for range 2 {
			if err := l.enter(t.Context(), "greedy", 1); err != nil {
				t.Fatal(err)
			}
		}
		results := make(chan error)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { results <- l.enter(ctx, "greedy", 1) }()
		synctest.Wait()
		if err := l.enter(t.Context(), "greedy", 1); !apierrors.IsTooManyRequests(err) {
			t.Errorf("beyond what one user may have waiting: got %v", err)
		}
		cancel()
		if err := <-results; !apierrors.IsTooManyRequests(err) {
			t.Errorf("whose time is over: got %v", err)
		}
		for range 2 {
			l.leave()
		}
		if l.busy != 0 || len(l.users) != 0 || len(l.waiting) != 0 {
			t.Errorf("after all: %d are served, %v wait", l.busy, l.users)
		}
	})
}

// Whatever comes and goes, never more than the width are in it, and all leave.
func TestTheLaneIsNeverWider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const width = 3
		l := newLane(width)
		in := make(chan struct{}, width)
		for n := range 300 {
			go func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if n%7 == 0 {
					go cancel() // perhaps before it gets a turn, perhaps after
				}
				if l.enter(ctx, fmt.Sprint("user-", n%5), 0) != nil {
					return
				}
				select {
				case in <- struct{}{}:
				default:
					t.Error("more than the width")
				}
				<-in
				l.leave()
			}()
		}
		synctest.Wait()
		if l.busy != 0 || len(l.users) != 0 || len(l.waiting) != 0 {
			t.Errorf("after all: %d are served, %v wait", l.busy, l.users)
		}
	})
}
