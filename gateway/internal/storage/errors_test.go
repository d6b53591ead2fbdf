package storage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Clients repeat a request by themselves when they are told when to come back. That is
// right where nothing was written, and wrong where nobody knows: what a repeated creation
// finds in its way may be its own doing.
func TestWhoIsToldToComeBack(t *testing.T) {
	gr := schema.GroupResource{Resource: "configmaps"}
	for name, c := range map[string]struct {
		err    error
		code   int32
		reason bool // to come back
	}{
		"the store is away":        {fmt.Errorf("%w: gone", statelog.ErrUnavailable), http.StatusServiceUnavailable, true},
		"the outcome is not known": {fmt.Errorf("%w: no answer", statelog.ErrUnknown), http.StatusGatewayTimeout, false},
		"somebody was faster":      {&statelog.ConflictError{}, http.StatusConflict, false},
	} {
		t.Run(name, func(t *testing.T) {
			var got *apierrors.StatusError
			if !errors.As(apiError(c.err, gr, "x"), &got) || got.ErrStatus.Code != c.code {
				t.Fatalf("got %+v", got)
			}
			if back := got.ErrStatus.Details != nil && got.ErrStatus.Details.RetryAfterSeconds > 0; back != c.reason {
				t.Errorf("told to come back: %v", back)
			}
		})
	}
}

// unasked is a log that must not be asked.
type unasked struct {
	Log
	t *testing.T
}

func (u unasked) Barrier(context.Context, proto.GroupResource) (uint64, error) {
	u.t.Error("it was looked at again: what is found there may be its own doing")
	return 0, nil
}

func TestAnOpenOutcomeIsNotTriedAgain(t *testing.T) {
	s := &Store{backend: &Backend{Log: unasked{t: t}}}
	open := fmt.Errorf("%w: no answer", statelog.ErrUnknown)
	key := proto.Key{Name: "x"}
	if _, done, err := s.settle(t.Context(), key, statelog.NewEntry(key, 7, nil, false), false, false, open); !done || !errors.Is(err, open) {
		t.Errorf("got %v, %v", done, err)
	}
}
