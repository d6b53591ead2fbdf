package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func TestManyAddsOfOneKeyAreOneReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string]("test")
		for range 10 {
			q.Add("a")
		}
		seen := run(t, q, 4, func(string) (time.Duration, error) { return 0, nil })
		synctest.Wait()
		if got := seen(); len(got) != 1 {
			t.Fatalf("reconciled %v, want a once", got)
		}
	})
}

func TestAKeyAddedWhileItRunsRunsAgainAndNeverTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string]("test")
		var mu sync.Mutex
		active, most := 0, 0
		seen := run(t, q, 4, func(string) (time.Duration, error) {
			mu.Lock()
			active++
			most = max(most, active)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			active--
			mu.Unlock()
			return 0, nil
		})
		q.Add("a")
		time.Sleep(500 * time.Millisecond)
		q.Add("a")
		q.Add("a")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := seen(); len(got) != 2 || most != 1 {
			t.Fatalf("reconciled %d times with %d at once, want 2 and 1", len(got), most)
		}
	})
}

func TestFailuresBackOffAndSuccessForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string]("test")
		failing := 3
		start := time.Now()
		var at []time.Duration
		run(t, q, 1, func(string) (time.Duration, error) {
			at = append(at, time.Since(start))
			if failing--; failing >= 0 {
				return 0, errors.New("not yet")
			}
			return 0, nil
		})
		q.Add("a")
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{0, 5 * time.Millisecond, 15 * time.Millisecond, 35 * time.Millisecond}
		if len(at) != len(want) {
			t.Fatalf("ran at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Fatalf("ran at %v, want %v", at, want)
			}
		}
	})
}

func TestAPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string]("test")
		first := true
		seen := run(t, q, 1, func(string) (time.Duration, error) {
			if first {
				first = false
				panic("broken")
			}
			return 0, nil
		})
		q.Add("a")
		time.Sleep(time.Second)
		if got := seen(); len(got) != 2 {
			t.Fatalf("reconciled %d times, want 2", len(got))
		}
	})
}

func TestTheShorterOfTwoWaitsCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New[string]("test")
		seen := run(t, q, 1, func(string) (time.Duration, error) { return 0, nil })
		q.AddAfter("a", time.Minute)
		q.AddAfter("a", time.Second)
		q.AddAfter("a", time.Hour)
		time.Sleep(2 * time.Second)
		if got := seen(); len(got) != 1 {
			t.Fatalf("after 2 s reconciled %d times, want 1", len(got))
		}
		time.Sleep(2 * time.Hour)
		if got := seen(); len(got) != 1 {
			t.Fatalf("in the end reconciled %d times, want 1", len(got))
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: 5 * time.Millisecond, 1: 10 * time.Millisecond, 17: 5 * time.Millisecond << 17, 18: maxDelay, 1000: maxDelay} {
		if got := backoff(failures); got != want {
			t.Errorf("after %d failures: got %v, want %v", failures, got, want)
		}
	}
}

// run starts the queue until the test ends; seen gives the keys reconciled so far.
func run(t *testing.T, q *Queue[string], workers int, reconcile func(string) (time.Duration, error)) (seen func() []string) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var keys []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		q.Run(ctx, workers, zap.NewNop(), func(_ context.Context, key string) (time.Duration, error) {
			mu.Lock()
			keys = append(keys, key)
			mu.Unlock()
			return reconcile(key)
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), keys...)
	}
}
