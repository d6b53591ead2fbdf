package apiclient

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func TestWhatIsInHandIsBoundedByIdentity(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		who  who
		most int
	}{"requests": {who{user: "a"}, requestsMost}, "streams": {who{"a", true}, streamsMost}} {
		t.Run(name, func(t *testing.T) {
			l := newLoad()
			for range c.most {
				if err := l.begin(c.who); err != nil {
					t.Fatal(err)
				}
			}
			err := l.begin(c.who)
			if seconds, ok := apierrors.SuggestsClientDelay(err); !apierrors.IsTooManyRequests(err) || !ok || seconds != retryAfter {
				t.Errorf("beyond the bound: got %v", err)
			}
			if err := l.begin(who{user: "b", stream: c.who.stream}); err != nil {
				t.Errorf("another identity pays for it: %v", err)
			}
			l.end(c.who)
			if err := l.begin(c.who); err != nil {
				t.Errorf("after one has ended: %v", err)
			}
		})
	}
}

func TestAGatewayThatStopsTakesNothingAndWaitsForTheRest(t *testing.T) {
	t.Parallel()
	l := newLoad()
	if err := l.begin(who{user: "a"}); err != nil {
		t.Fatal(err)
	}
	l.stop()
	if err := l.begin(who{user: "a"}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v", err)
	}
	done := make(chan struct{})
	go func() { l.wait.Wait(); close(done) }()
	select {
	case <-done:
		t.Fatal("nobody waited for the request in hand")
	default:
	}
	l.end(who{user: "a"})
	<-done
	if len(l.inHand) != 0 {
		t.Errorf("left over: %v", l.inHand)
	}
}
