package garbage

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestAnOwnerThatIsNotSeenIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer string
		err    error
		want   standing
		fails  bool
		asked  int // when the same owner is looked at twice
	}{
		{name: "it is there, and the view is behind", answer: `{"metadata":{"uid":"o"}}`, want: solid, asked: 2},
		{name: "it is there and waits for its dependents", answer: `{"metadata":{"uid":"o","deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["foregroundDeletion"]}}`, want: waitingOn, asked: 2},
		{name: "it is being deleted without waiting", answer: `{"metadata":{"uid":"o","deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["x"]}}`, want: solid, asked: 2},
		{name: "another one has its name", answer: `{"metadata":{"uid":"p"}}`, want: dangling, asked: 1},
		{name: "it is gone, and stays so", err: apierrors.NewNotFound(corev1.Resource("things"), "o"), want: dangling, asked: 1},
		{name: "who does not know decides nothing", err: errors.New("no answer"), want: unknown, fails: true, asked: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			read := func(context.Context, string) ([]byte, error) {
				asked++
				return []byte(tc.answer), tc.err
			}
			var a absent
			for range 2 {
				if got, err := a.ask(t.Context(), read, "/things/o", "o"); got != tc.want || (err != nil) != tc.fails {
					t.Errorf("got %v, %v, want %v", got, err, tc.want)
				}
			}
			if asked != tc.asked {
				t.Errorf("asked %d times, want %d", asked, tc.asked)
			}
		})
	}
}
