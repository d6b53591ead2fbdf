package intake

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// replaying runs replays; read tells when which nodes were read.
func replaying(t *testing.T, story func(r *replays, read func() string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		log := ""
		r := newReplays(func(_ context.Context, nodes []string) error {
			log += fmt.Sprintf("%v at %v ", nodes, time.Since(began).Seconds())
			time.Sleep(100 * time.Millisecond)
			return nil
		})
		ended := make(chan struct{})
		go func() { defer close(ended); _ = r.Run(ctx) }()
		story(r, func() string {
			time.Sleep(time.Hour)
			return log
		})
		cancel()
		<-ended
	})
}

func TestANodeThatIsBackIsReadAtOnceAndNoOther(t *testing.T) {
	replaying(t, func(r *replays, read func() string) {
		r.Ask("a")
		synctest.Wait()
		r.Ask("b")
		if got := read(); got != "[a] at 0 [b] at 0.1 " {
			t.Errorf("read: %s", got)
		}
	})
}

func TestANodeIsReadOnceAGapHoweverOftenItIsAskedFor(t *testing.T) {
	replaying(t, func(r *replays, read func() string) {
		for range 40 {
			r.Ask("a")
			time.Sleep(time.Second)
		}
		if got := read(); got != "[a] at 0 [a] at 30 [a] at 60 " {
			t.Errorf("read: %s", got)
		}
	})
}

func TestNodesThatComeTogetherAreReadTogether(t *testing.T) {
	replaying(t, func(r *replays, read func() string) {
		r.Ask("a")
		synctest.Wait()
		for _, node := range []string{"d", "c", "b"} {
			r.Ask(node)
		}
		r.Forget("c")
		if got := read(); got != "[a] at 0 [b d] at 0.1 " {
			t.Errorf("read: %s", got)
		}
	})
}

func TestANodeIsReadOnceMoreWhenThingsHaveSettled(t *testing.T) {
	replaying(t, func(r *replays, read func() string) {
		r.Ask("a")
		r.Later("a", settle)
		if got := read(); got != "[a] at 0 [a] at 15 " {
			t.Errorf("read: %s", got)
		}
	})
}

func TestWhatIsReadAnewGivesWayToWhatIsSaidMeanwhile(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.put(&report{subject: "waiting", data: []byte("new")})
	end := q.rereading()
	q.put(&report{subject: "said", data: []byte("new")})
	_ = taken(t, q, 10) // both are written
	q.put(&report{subject: "waiting", data: []byte("newer")})
	for _, subject := range []string{"silent", "said", "waiting"} {
		q.reread(&report{subject: subject, data: []byte("old")})
	}
	if got := taken(t, q, 10); got != "waitingnewer silentold " {
		t.Errorf("got %q", got)
	}
	end()
	end = q.rereading()
	defer end()
	q.reread(&report{subject: "said", data: []byte("same")})
	if got := taken(t, q, 10); got != "saidsame " {
		t.Errorf("the next time it counts again: %q", got)
	}
}

// A report that was refused must not come back when a newer one has been written since.
func TestARetryGivesWayToAReportThatIsWrittenAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		q.again(t.Context(), &report{subject: "a", data: []byte("old")}, time.Second)
		q.put(&report{subject: "a", data: []byte("new")})
		if got := taken(t, q, 10); got != "anew " {
			t.Errorf("got %q", got)
		}
		time.Sleep(2 * time.Second)
		if left := q.next(10); len(left) != 0 {
			t.Errorf("the old one comes again: %s", left[0].data)
		}
	})
}
