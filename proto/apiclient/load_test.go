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
				if err := l.begin(c.who, 0); err != nil {
					t.Fatal(err)
				}
			}
			err := l.begin(c.who, 0)
			if seconds, ok := apierrors.SuggestsClientDelay(err); !apierrors.IsTooManyRequests(err) || !ok || seconds != retryAfter {
				t.Errorf("beyond the bound: got %v", err)
			}
			if err := l.begin(who{user: "b", stream: c.who.stream}, 0); err != nil {
				t.Errorf("another identity pays for it: %v", err)
			}
			l.end(c.who, 0)
			if err := l.begin(c.who, 0); err != nil {
				t.Errorf("after one has ended: %v", err)
			}
		})
	}
}

func TestAGatewayThatStopsTakesNothingAndWaitsForTheRest(t *testing.T) {
	t.Parallel()
	l := newLoad()
	if err := l.begin(who{user: "a"}, 0); err != nil {
		t.Fatal(err)
	}
	l.stop()
	if err := l.begin(who{user: "a"}, 0); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v", err)
	}
	done := make(chan struct{})
	go func() { l.wait.Wait(); close(done) }()
	select {
	case <-done:
		t.Fatal("nobody waited for the request in hand")
	default:
	}
	l.end(who{user: "a"}, 0)
	<-done
	if len(l.inHand) != 0 {
		t.Errorf("left over: %v", l.inHand)
	}
}

func TestTheBytesInHandAreBoundedByUser(t *testing.T) {
	t.Parallel()
	l := newLoad()
	a := who{user: "a"}
	if err := l.begin(a, 2*bytesMost); err != nil {
		t.Errorf("the first one is taken whatever its size: %v", err)
	}
	if err := l.begin(a, 1); !apierrors.IsTooManyRequests(err) {
		t.Errorf("beyond the bound: got %v", err)
	}
	if err := l.begin(who{user: "b"}, 1); err != nil {
		t.Errorf("another user pays for it: %v", err)
	}
	l.end(a, 2*bytesMost)
	for range 2 {
		if err := l.begin(a, bytesMost/2); err != nil {
			t.Errorf("after it has ended: %v", err)
		}
	}
	for range 2 {
		l.end(a, bytesMost/2)
	}
	l.end(who{user: "b"}, 1)
	if len(l.inHand)+len(l.bytes) != 0 {
		t.Errorf("left over: %v %v", l.inHand, l.bytes)
	}
}
