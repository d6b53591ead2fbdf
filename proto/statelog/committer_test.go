package statelog

import (
	"context"
	"errors"
	"testing"
	"time"

	"kubus.dev/proto"
)

func TestALogThatEndsAnswersTheWritesThatWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	l := &Log{replicas: 1}
	c := newCommitter(ctx, l, nil)
	c.slot <- struct{}{} // a commit is under way
	write := func() *op {
		o := l.newOp(ctx, Write{Key: proto.Key{GroupResource: proto.GroupResource{Resource: "pods"}, Namespace: "a", Name: "b"}})
		c.submit(o)
		return o
	}
	early := write()
	cancel()
	answered := func(o *op, what string) {
		t.Helper()
		wait, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		if _, err := o.wait(wait); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	answered(early, "a write that waited")
	answered(write(), "a write that came later")
}
