package flow

import (
	"context"
	"net/http"
)

type placeKey struct{}

// Elsewhere is the way to other servers, webhooks say. A request that waits for the answer
// of one costs us nothing: meanwhile its user may have another in hand, and it has no turn.
// What it asks for may itself be asked of us, as the same user.
func Elsewhere(next http.RoundTripper) http.RoundTripper { return elsewhere{next} }

type elsewhere struct{ next http.RoundTripper }

func (e elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	p, ok := r.Context().Value(placeKey{}).(*place)
	if !ok {
		return e.next.RoundTrip(r)
	}
	p.depart()
	defer p.comeBack()
	return e.next.RoundTrip(r)
}

// WrappedRoundTripper is upstream's net.RoundTripperWrapper.
func (e elsewhere) WrappedRoundTripper() http.RoundTripper { return e.next }

// Delegated says that all that is left of a request is done by another server.
func Delegated(ctx context.Context) {
	if p, ok := ctx.Value(placeKey{}).(*place); ok {
		p.depart()
	}
}

// depart begins one of the request's waits for another server; several may be at a time.
func (p *place) depart() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away++
	if p.turn {
		p.turn = false
		p.lane.leave()
	}
	if p.inHand {
		p.inHand, p.returns = false, true
		p.crowd.leave(p.user)
	}
}

// comeBack ends such a wait. What comes back is in hand at once, whatever its user has
// in hand otherwise: those who have not begun wait for it, not the other way round.
func (p *place) comeBack() {
	p.mu.Lock()
	p.away--
	if p.away > 0 || p.waits { // who waits for its client takes its turn when that is over
		p.mu.Unlock()
		return
	}
	if p.returns {
		p.returns, p.inHand = false, true
		p.crowd.again(p.user)
	}
	p.mu.Unlock()
	p.resume()
}
