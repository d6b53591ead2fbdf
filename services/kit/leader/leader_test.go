package leader

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"kubus.dev/proto/message"
)

// world is the bus and the fence of a test.
type world struct {
	mu        sync.Mutex
	listeners map[int]func([]byte)
	next      int
	fence     message.FenceState
	epoch     uint64
}

func newWorld() *world { return &world{listeners: map[int]func([]byte){}} }

func (w *world) Publish(_ string, data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, h := range w.listeners {
		h(data)
	}
	return nil
}

func (w *world) Listen(_ string, h func([]byte)) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	id := w.next
	w.listeners[id] = h
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.listeners, id)
	}, nil
}

func (w *world) AcquireFence(_ context.Context, name, holder string, epoch uint64) (*message.FenceState, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fence.Epoch == epoch {
		w.epoch += 7
		w.fence.Holder, w.fence.Epoch = holder, w.epoch
	}
	return &message.FenceState{Name: name, Holder: w.fence.Holder, Epoch: w.fence.Epoch}, nil
}

// instance runs one until stop; mute loses what it announces.
type instance struct {
	mu    sync.Mutex
	leads bool
	stop  func()
}

func (i *instance) leading() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.leads
}

func (i *instance) set(leads bool) {
	i.mu.Lock()
	i.leads = leads
	i.mu.Unlock()
}

type mute struct{ *world }

func (mute) Publish(string, []byte) error { return nil }

func start(t *testing.T, name string, w *world, b Bus) *instance {
	return startWith(t, Options{Name: "f", Instance: name, Fences: w, Bus: b, Logger: zap.NewNop()})
}

func startAlone(t *testing.T, w *world, name string) *instance {
	return startWith(t, Options{Name: "f", Instance: name, Fences: w, Bus: w, Logger: zap.NewNop(), Alone: true})
}

func startWith(t *testing.T, o Options) *instance {
	ctx, cancel := context.WithCancel(t.Context())
	i := &instance{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := Run(ctx, o, func(ctx context.Context, _ *message.Fence) error {
			i.set(true)
			defer i.set(false)
			<-ctx.Done()
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}()
	i.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(i.stop)
	return i
}

func TestTheFirstInstanceLeadsAtOnceAndTheSecondWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a := start(t, "a", w, w)
		synctest.Wait()
		if !a.leading() {
			t.Fatal("a does not lead")
		}
		b := start(t, "b", w, w)
		time.Sleep(5 * time.Minute)
		if !a.leading() || b.leading() {
			t.Fatalf("after five minutes a leads %v, b leads %v, want a alone", a.leading(), b.leading())
		}
	})
}

func TestAStandbyTakesOverAfterTenSecondsOfSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a := start(t, "a", w, w)
		synctest.Wait() // a is the first
		b := start(t, "b", w, w)
		time.Sleep(time.Minute)
		a.stop()
		time.Sleep(Silence - Announce - time.Second)
		if b.leading() {
			t.Fatal("b leads too early")
		}
		time.Sleep(Announce + 2*time.Second)
		if !b.leading() {
			t.Fatal("b does not lead after the silence")
		}
	})
}

func TestARestartedInstanceTakesBackWhatNobodyElseTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a := start(t, "a", w, w)
		time.Sleep(time.Minute)
		a.stop()
		a = start(t, "a", w, w)
		time.Sleep(Settle + time.Millisecond)
		if !a.leading() {
			t.Fatal("a does not lead after settling")
		}
	})
}

func TestWhoIsAloneTakesTheFenceAtOnceAndShutsOutWhatAnEarlierRunSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		before := startAlone(t, w, "a")
		synctest.Wait()
		epoch := w.fence.Epoch
		before.stop()
		after := startAlone(t, w, "a")
		synctest.Wait()
		if !after.leading() || w.fence.Epoch <= epoch {
			t.Errorf("started again: leading is %v, the fence went from %d to %d", after.leading(), epoch, w.fence.Epoch)
		}
	})
}

func TestWhoIsNotAloneAfterAllWaitsAsOthersDo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		one := startAlone(t, w, "a")
		synctest.Wait()
		two := startAlone(t, w, "b")
		synctest.Wait()
		time.Sleep(time.Hour)
		synctest.Wait()
		if one.leading() || !two.leading() {
			t.Errorf("the first leads: %v, the second: %v", one.leading(), two.leading())
		}
	})
}

func TestALeaderTakenForDeadStepsDownWhenItHearsOfTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a := start(t, "a", w, mute{w})
		synctest.Wait() // a is the first
		b := start(t, "b", w, w)
		time.Sleep(Silence + Announce + time.Second)
		if a.leading() || !b.leading() {
			t.Fatalf("a leads %v, b leads %v, want b alone", a.leading(), b.leading())
		}
	})
}

// Whoever took the fence and ended before a word was said leaves a leader behind whose
// writes are all refused.
func TestALeaderWhoseFenceWasTakenWithoutAWordTakesItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a := start(t, "a", w, w)
		synctest.Wait()
		held, err := w.AcquireFence(t.Context(), "f", "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		taken, err := w.AcquireFence(t.Context(), "f", "b/1", held.Epoch)
		if err != nil || taken.Holder != "b/1" {
			t.Fatalf("got %v, %v", taken, err)
		}
		time.Sleep(Silence + time.Second)
		if a.leading() {
			t.Error("a still believes that it leads")
		}
		time.Sleep(Silence)
		now, err := w.AcquireFence(t.Context(), "f", "a", 0)
		if err != nil || now.Epoch <= taken.Epoch || !a.leading() {
			t.Errorf("the fence is %v, %v, a leads: %v", now, err, a.leading())
		}
	})
}

func TestALeaderThatCameWhileAStandbyListenedIsReplacedAfterOneSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		a := start(t, "a", w, w)
		synctest.Wait()
		b := start(t, "b", w, w) // it knows a's epoch, and goes on listening
		synctest.Wait()
		a.stop()
		a = start(t, "a", w, w) // a takes the fence again: a newer epoch
		time.Sleep(time.Minute)
		a.stop()
		time.Sleep(Silence + time.Second)
		if !b.leading() {
			t.Fatal("b does not lead after the silence")
		}
	})
}
