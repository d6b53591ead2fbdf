package feed

import (
	"context"
	"errors"
	"testing"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/statelog"
)

// away is a source whose gateway does not answer.
type away struct{}

func (away) StreamState(context.Context, string) (bus.StreamState, error) {
	return bus.StreamState{}, errors.New("nobody answers")
}

func (away) ConsumeWith(context.Context, bus.ConsumeOptions, func(*bus.StreamMsg)) error {
	return errors.New("nobody answers")
}

// A term may be over while the views of a process that has just started are still
// filling; that ends no process.
func TestATermThatEndsBeforeTheViewIsFilledIsNoFailure(t *testing.T) {
	t.Parallel()
	views := statelog.OpenViewsFrom(t.Context(), away{}, zap.NewNop())
	f := New(views.Stream(proto.StateStream), nil, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Run(ctx); err != nil {
		t.Errorf("got %v", err)
	}
}
