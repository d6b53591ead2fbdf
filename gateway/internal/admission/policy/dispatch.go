package policy

import (
	"context"
	"sync/atomic"

	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// dispatcher is upstream's, with the selectors of the present policies at hand.
type dispatcher struct {
	authorizer authorizer.UnconditionalAuthorizer
	matcher    *matching.Matcher
	prepared   atomic.Pointer[prepared] // nil: no request yet
}

// prepared is what is known of one set of hooks. A source never changes a set that it
// gave; it makes another.
type prepared struct {
	hooks   []hook
	matcher *matcher
}

func (p *prepared) of(hooks []hook) bool {
	return len(p.hooks) == len(hooks) && &p.hooks[0] == &hooks[0]
}

// Start is upstream's generic.Dispatcher.
func (d *dispatcher) Start(context.Context) error { return nil }

// Dispatch is upstream's generic.Dispatcher.
func (d *dispatcher) Dispatch(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces, hooks []hook) error {
	if len(hooks) == 0 {
		return nil
	}
	p := d.prepared.Load()
	if p == nil || !p.of(hooks) {
		p = &prepared{hooks: hooks, matcher: newMatcher(d.matcher, hooks)}
		d.prepared.Store(p) // whoever stores last, all of them are right
	}
	return validating.NewDispatcher(d.authorizer, p.matcher.once()).Dispatch(ctx, a, o, hooks)
}
