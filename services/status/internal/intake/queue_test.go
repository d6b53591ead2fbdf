package intake

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func taken(t *testing.T, q *queue, limit int) (subjects string) {
	t.Helper()
	reports, err := q.take(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		subjects += r.subject + string(r.data) + " "
	}
	return subjects
}

func TestTheNewestReportOfASubjectWinsAndKeepsItsPlace(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.put(&report{subject: "a", data: []byte("1")})
	q.put(&report{subject: "b", data: []byte("1")})
	q.put(&report{subject: "a", data: []byte("2")})
	if got := taken(t, q, 10); got != "a2 b1 " {
		t.Errorf("got %q", got)
	}
}

func TestASubjectThatReportsAllTheTimeDoesNotStarveOthers(t *testing.T) {
	t.Parallel()
	q := newQueue()
	for _, subject := range []string{"flapping", "b", "c"} {
		q.put(&report{subject: subject})
	}
	got := ""
	for range 3 {
		got += taken(t, q, 1)
		q.put(&report{subject: "flapping"})
	}
	if got != "flapping b c " {
		t.Errorf("got %q", got)
	}
}

func TestARetryGivesWayToANewerReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q.again(ctx, &report{subject: "a", data: []byte("old")}, time.Second)
		q.put(&report{subject: "a", data: []byte("new")})
		time.Sleep(2 * time.Second)
		if got := taken(t, q, 10); got != "anew " {
			t.Errorf("got %q", got)
		}
		q.again(ctx, &report{subject: "a", data: []byte("old")}, time.Second)
		if got := taken(t, q, 10); got != "aold " {
			t.Errorf("got %q", got)
		}
	})
}

func TestANodeThatReportsWithoutEndTakesNothingFromOthers(t *testing.T) {
	t.Parallel()
	q := newQueue()
	var caughtUp []string
	q.caughtUp = func(node string) { caughtUp = append(caughtUp, node) }
	for i := range mostWaiting + 10 {
		q.put(&report{subject: "report.flood.pod.a." + strconv.Itoa(i)})
	}
	half := make([]byte, mostWaitingBytes/2)
	for i := range 4 {
		q.put(&report{subject: "report.large.pod.a." + strconv.Itoa(i), data: half})
	}
	q.put(&report{subject: "report.large.pod.a.0", data: half}) // in place of the one that waits
	q.put(&report{subject: "report.good.node", data: []byte("x")})
	got := map[string]int{}
	for range 3 {
		reports, err := q.take(t.Context(), mostWaiting)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			got[nodeOf(r.subject)]++
		}
		if got["good"] == 1 {
			break
		}
	}
	if got["flood"] != mostWaiting || got["large"] != 2 || got["good"] != 1 {
		t.Errorf("got %v", got)
	}
	if len(caughtUp) != 2 {
		t.Errorf("what was refused is read again for %v, want both nodes", caughtUp)
	}
}
