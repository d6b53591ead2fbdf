package intake

import "testing"

func TestWhichNodesAreGivenUp(t *testing.T) {
	t.Parallel()
	l := newLost()
	for i, step := range []struct{ is, was bool }{{false, false}, {true, false}, {true, true}, {false, true}, {false, false}} {
		if was := l.note("a", step.is); was != step.was || l.Has("a") != step.is || l.Has("b") {
			t.Errorf("step %d: was %v, is %v", i, was, l.Has("a"))
		}
	}
}
