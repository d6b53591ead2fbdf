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

func (away) Read(context.Context, statelog.Reading, statelog.Handler) error {
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

func TestACatalogWithoutAGroupSaysSo(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"/api/v1":       `{"resources":[{"name":"pods","kind":"Pod","namespaced":true,"verbs":["delete"]}]}`,
		"/apis":         `{"groups":[{"name":"apps","versions":[{"version":"v1"}],"preferredVersion":{"version":"v1"}}]}`,
		"/apis/apps/v1": `{"resources":[{"name":"deployments","kind":"Deployment","namespaced":true,"verbs":["delete"]}]}`,
	}
	for _, lost := range []string{"", "/apis/apps/v1"} {
		catalog, err := discover(t.Context(), func(_ context.Context, path string) ([]byte, error) {
			if path == lost {
				return nil, errors.New("no answer")
			}
			return []byte(answers[path]), nil
		})
		if catalog == nil || (lost != "") != (err != nil) || (lost != "") != (catalog.Incomplete != nil) {
			t.Errorf("without %q: got %+v, %v", lost, catalog, err)
		}
	}
}
