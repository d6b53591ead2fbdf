package report

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	protobuf "google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

type wire struct {
	mu   sync.Mutex
	down bool
	sent []string // "gone" or the phase
}

func (w *wire) PublishStream(_ context.Context, _ string, data []byte, _ bus.Header) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return 0, errors.New("down")
	}
	r := &message.PodReport{}
	if err := protobuf.Unmarshal(data, r); err != nil {
		return 0, err
	}
	if r.Gone {
		w.sent = append(w.sent, "gone")
	} else {
		w.sent = append(w.sent, string(r.Status))
	}
	return 1, nil
}

func (w *wire) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.sent)
}

func TestReportsCoalesceSurviveAnOutageAndAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &wire{down: true}
		p := NewPods("n", w, zaptest.NewLogger(t))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = p.Run(ctx)
		}()
		pod := &corev1.Pod{}
		pod.Name, pod.Namespace, pod.UID = "p", "ns", types.UID("u")
		say := func(phase corev1.PodPhase, gone bool) {
			if err := p.Status(pod, &corev1.PodStatus{Phase: phase}, gone); err != nil {
				t.Fatal(err)
			}
		}
		say(corev1.PodPending, false)
		synctest.Wait()
		say(corev1.PodRunning, false)
		time.Sleep(3 * time.Second)
		w.mu.Lock()
		w.down = false
		w.mu.Unlock()
		time.Sleep(6 * time.Second)
		if n := w.count(); n != 1 {
			t.Errorf("%d reports of one pod after an outage: %q", n, w.sent)
		}
		say(corev1.PodRunning, false)
		time.Sleep(time.Second)
		if n := w.count(); n != 1 {
			t.Errorf("an equal report was sent again: %q", w.sent)
		}
		p.Resend()
		time.Sleep(time.Second)
		if n := w.count(); n != 2 {
			t.Errorf("after a reconnect: %q", w.sent)
		}
		time.Sleep(resendEvery)
		if n := w.count(); n != 3 {
			t.Errorf("after a while: %q", w.sent)
		}
		say(corev1.PodRunning, true)
		p.Forget("u")
		say(corev1.PodRunning, true)
		cancel()
		<-done
		if last := w.sent[len(w.sent)-1]; last != "gone" {
			t.Errorf("what was left at the end was not sent: %q", w.sent)
		}
	})
}

type api struct {
	mu       sync.Mutex
	requests []apiclient.Request
}

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, r []apiclient.Request) ([]apiclient.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r...)
	return make([]apiclient.Result, len(r)), nil
}

func TestEventsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &api{}
		e := NewEvents("n", a, zaptest.NewLogger(t))
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = e.Run(ctx)
		}()
		pod := &corev1.Pod{}
		pod.Name, pod.Namespace, pod.UID = "p", "ns", types.UID("u")
		for range 10 {
			e.Pod(pod, "", "Warning", "BackOff", "again")
		}
		time.Sleep(time.Second)
		for range 10 {
			e.Pod(pod, "", "Warning", "BackOff", "again")
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Second)
		cancel()
		<-done
		if len(a.requests) < 2 || len(a.requests) > 5 || a.requests[0].Method != "POST" || a.requests[1].Method != "PATCH" {
			t.Errorf("requests %+v", a.requests)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, ev := range e.known {
			if ev.event.Count != 20 {
				t.Errorf("count %d, want 20", ev.event.Count)
			}
		}
	})
}

func TestEventsOfOneObjectAreLimited(t *testing.T) {
	t.Parallel()
	e := NewEvents("n", &api{}, zaptest.NewLogger(t))
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace, pod.UID = "p", "ns", types.UID("u")
	for i := range 100 {
		e.Pod(pod, "", "Warning", "R", string(rune('a'+i%26))+string(rune('a'+i/26)))
	}
	if len(e.pending) != burst {
		t.Errorf("%d Events pass, want %d", len(e.pending), burst)
	}
}
