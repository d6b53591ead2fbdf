package flow

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// crowdedPlace is a costly request of a user who is not alone and may have one in hand.
func crowdedPlace(t *testing.T) *place {
	t.Helper()
	p := &place{lane: newLane(1), crowd: newCrowd(1), user: "greedy", ctx: t.Context(), seat: func() {}}
	if !p.crowd.try("polite") || !p.crowd.try("greedy") || p.lane.enter(t.Context(), "greedy", 0) != nil {
		t.Fatal("the first is not in hand")
	}
	p.inHand, p.costly, p.turn = true, true, true
	return p
}

func (p *place) ask(meanwhile func()) {
	ctx := context.WithValue(p.ctx, placeKey{}, p)
	_, _ = Elsewhere(roundTrip(func(*http.Request) (*http.Response, error) { //nolint:bodyclose // there is none
		meanwhile()
		return nil, http.ErrServerClosed
	})).RoundTrip(httptest.NewRequest("POST", "/", nil).WithContext(ctx))
}

func TestWhoWaitsForAnotherServerKeepsNobodyFromAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := crowdedPlace(t)
		if p.crowd.try("greedy") {
			t.Error("two are in hand")
		}
		p.ask(func() {
			if !p.crowd.try("greedy") {
				t.Error("another of its user waits for it")
			}
			if err := p.lane.enter(t.Context(), "other", 0); err != nil {
				t.Error("it has a turn meanwhile")
			}
			p.lane.leave()
		})
		// The other one is still in hand, and so is what came back.
		p.crowd.leave("greedy")
		if p.crowd.try("greedy") {
			t.Error("what came back is not in hand")
		}
		if !p.turn || p.lane.busy != 1 {
			t.Error("what came back has no turn")
		}
		p.Signal()
		if !p.crowd.try("greedy") || p.lane.busy != 0 {
			t.Error("what has ended is in hand")
		}
	})
}

// Webhooks are asked several at a time.
func TestWhoWaitsForTwoServersIsBackWithTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := crowdedPlace(t)
		var wait sync.WaitGroup
		first, second := make(chan struct{}), make(chan struct{})
		wait.Go(func() { p.ask(func() { <-first }) })
		wait.Go(func() { p.ask(func() { <-second }) })
		synctest.Wait()
		close(first)
		synctest.Wait()
		if p.inHand || p.turn {
			t.Error("it is back before the second has answered")
		}
		close(second)
		wait.Wait()
		if !p.inHand || !p.turn {
			t.Error("it is not back")
		}
	})
}

// A request whose time is over ends while a webhook still is asked for it.
func TestWhoHasEndedDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := crowdedPlace(t)
		p.ask(p.Signal)
		if p.inHand || p.turn || p.lane.busy != 0 || p.crowd.users["greedy"] != nil {
			t.Errorf("in hand %v, turn %v", p.inHand, p.turn)
		}
	})
}

func TestWhatIsDelegatedIsNotInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := crowdedPlace(t)
		Delegated(context.WithValue(p.ctx, placeKey{}, p))
		p.resume() // after something was written to its client
		if p.inHand || p.turn || !p.crowd.try("greedy") {
			t.Error("it still is in hand")
		}
		p.Signal()
		if p.crowd.users["greedy"].inHand != 1 {
			t.Error("it left twice")
		}
	})
	Delegated(t.Context()) // nobody's
}
