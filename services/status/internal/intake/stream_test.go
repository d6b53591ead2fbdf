package intake

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
)

func TestOfSomeNodesWhatTheySaidLastIsRead(t *testing.T) {
	t.Parallel()
	conn := bustest.Start(t)
	say := func(subject, what string) {
		t.Helper()
		if _, err := conn.PublishStream(t.Context(), subject, []byte(what), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, what := range []string{"old", "new"} {
		for _, node := range []string{"a", "b", "n.with.dots", "other"} {
			say(proto.NodeReportSubject(node), what)
			say(proto.PodReportSubject(node, "default", "p"), what)
		}
	}
	in := &Intake{bus: conn, queue: newQueue(), logger: zap.NewNop()}
	for _, tt := range []struct {
		nodes []string
		want  []string
	}{
		{[]string{"a", "n.with.dots"}, []string{"a new", "a new", "n.with.dots new", "n.with.dots new"}},
		{[]string{"silent"}, nil},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), unread/2)
		defer cancel()
		if err := in.read(ctx, tt.nodes); err != nil || ctx.Err() != nil {
			t.Fatalf("reading %v had no end: %v", tt.nodes, err)
		}
		var got []string
		for _, r := range in.queue.next(100) {
			got = append(got, nodeOf(r.subject)+" "+string(r.data))
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("of %v: %v, want %v", tt.nodes, got, tt.want)
		}
	}
}

func TestWhatIsSaidLaterIsReadByTheConsumerOfAll(t *testing.T) {
	t.Parallel()
	conn := bustest.Start(t)
	in := &Intake{bus: conn, queue: newQueue(), afresh: make(chan struct{}, 1), logger: zap.NewNop()}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = in.consume(ctx) }()
	for _, what := range []string{"one", "two"} {
		if _, err := conn.PublishStream(t.Context(), proto.NodeReportSubject("a"), []byte(what), nil); err != nil {
			t.Fatal(err)
		}
		taking, stop := context.WithTimeout(t.Context(), 10*time.Second)
		reports, err := in.queue.take(taking, 1)
		if stop(); err != nil || string(reports[0].data) != what {
			t.Fatalf("want %s, got %v: %v", what, reports, err)
		}
	}
	in.again() // as after the bus was away
	taking, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	if reports, err := in.queue.take(taking, 1); err != nil || string(reports[0].data) != "two" {
		t.Errorf("read anew: %v, %v", reports, err)
	}
	cancel()
	<-ended
}
