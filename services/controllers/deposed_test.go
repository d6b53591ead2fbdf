package controllers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
	"kubus.dev/services/kit/leader"
)

// A leader that is stopped in the middle of a write, and goes on when another has
// taken over long ago, writes nothing more: not that write, and none after it. The
// bus, the log and the elections are real; each group's controllers are one that
// writes without end.
func TestADeposedLeaderWritesNothing(t *testing.T) {
	t.Parallel()
	conn := bustest.Start(t)
	views := statelog.OpenViews(t.Context(), conn, zap.NewNop())
	log, err := statelog.OpenLog(t.Context(), conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := views.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, g := range Groups() {
		t.Run(g.Name, func(t *testing.T) {
			t.Parallel()
			one, two := newInstance(g.Name, "one", conn, views, log), newInstance(g.Name, "two", conn, views, log)
			one.start(t)
			one.writes(t)
			two.start(t)

			one.stop()
			until(t, "one is held in a write", func() bool { return one.held.Load() > 0 })
			two.writes(t)
			written, refused := one.written.Load(), one.refused.Load()
			one.goOn()
			until(t, "one's late write is refused", func() bool { return one.refused.Load() > refused })
			until(t, "one knows that it leads no more", func() bool { return one.terms.Load() == 0 })
			two.writes(t)
			if n := one.written.Load() - written; n != 0 {
				t.Errorf("%d writes of the deposed leader are in the log", n)
			}
			view := views.Stream(proto.StateStream)
			epoch := view.Fence(proto.ControllersFence(g.Name)).Epoch
			before, after := 0, 0
			view.Snapshot(marks).Ascend(g.Name, func(e *statelog.Entry) bool {
				switch by, _, _ := strings.Cut(e.Key().Name, "-"); {
				case by == "one" && e.Revision() > epoch:
					t.Errorf("%s was written at %d, after two's fence at %d", e.Key().Name, e.Revision(), epoch)
				case by == "one":
					before++
				default:
					after++
				}
				return true
			})
			if before == 0 || after == 0 {
				t.Errorf("%d writes of one and %d of two", before, after)
			}
		})
	}
}

var marks = proto.GroupResource{Resource: "configmaps"}

// instance is a process of the service, and its way to the API.
type instance struct {
	group, name string
	conn        *bus.Conn
	views       *statelog.Views
	log         *statelog.Log

	terms, held, written, refused atomic.Int64

	mu      sync.Mutex
	running chan struct{} // closed while it runs
}

func newInstance(group, name string, conn *bus.Conn, views *statelog.Views, log *statelog.Log) *instance {
	i := &instance{group: group, name: name, conn: conn, views: views, log: log, running: make(chan struct{})}
	close(i.running)
	return i
}

// start runs the group until the test ends.
func (i *instance) start(t *testing.T) {
	world := &frame.World{
		Mirrors: mirror.NewWorld(), Views: i.views, API: apiclient.New(i, proto.ControllersLeader(i.group)), Settings: &frame.Settings{}, Workers: 1, Logger: zap.NewNop(),
	}
	g := frame.Group{Name: i.group, Controllers: []frame.Definition{{Name: "marker", User: "marker", Make: func(e *frame.Env) (frame.Loop, error) {
		return frame.LoopFunc(func(ctx context.Context, _ int) error { return i.mark(ctx, e.Writer) }), nil
	}}}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- leader.Run(ctx, leader.Options{
			Name: proto.ControllersFence(i.group), Instance: i.name, Fences: world.API, Bus: i, Logger: zap.NewNop(),
		}, func(ctx context.Context, fence *message.Fence) error {
			i.terms.Add(1)
			defer i.terms.Add(-1)
			return g.Run(ctx, world, fence, func() {})
		})
	}()
	t.Cleanup(func() {
		i.goOn()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", i.name, err)
		}
	})
}

// mark writes object after object.
func (i *instance) mark(ctx context.Context, writer *write.Client) error {
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("%s-%d", i.name, n)
		request, err := write.Create(write.Path("", "v1", i.group, marks.Resource), map[string]any{"metadata": map[string]any{"name": name}})
		if err != nil {
			return err
		}
		if _, err := writer.One(ctx, request); err != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// writes waits for some writes from now on.
func (i *instance) writes(t *testing.T) {
	t.Helper()
	from := i.written.Load()
	until(t, i.name+" writes", func() bool { return i.written.Load() > from+3 })
}

// stop holds all that the process says and hears, as SIGSTOP does.
func (i *instance) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.running = make(chan struct{})
}

// goOn is SIGCONT.
func (i *instance) goOn() {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.running:
	default:
		close(i.running)
	}
}

func (i *instance) wait() {
	i.mu.Lock()
	running := i.running
	i.mu.Unlock()
	<-running
}

// Bulk implements apiclient.Transport: creations, under their fence, in the real log.
func (i *instance) Bulk(_ context.Context, _ string, r *message.BulkRequest) (*message.BulkResponse, error) {
	i.held.Add(1)
	i.wait() // what was sent already is on its way, whatever becomes of the sender
	i.held.Add(-1)
	ctx := statelog.WithFence(context.Background(), statelog.FenceEpoch{Name: r.Fence.GetName(), Epoch: r.Fence.GetEpoch()})
	response := &message.BulkResponse{}
	for _, item := range r.Items {
		name := strings.Split(string(item.Body), `"`)[5]
		_, err := i.log.Commit(ctx, statelog.Write{Key: proto.Key{GroupResource: marks, Namespace: i.group, Name: name}, Data: item.Body})
		code := int32(http.StatusCreated)
		switch {
		case errors.Is(err, statelog.ErrFenced):
			i.refused.Add(1)
			code = http.StatusConflict
		case err != nil:
			return nil, err
		default:
			i.written.Add(1)
		}
		response.Items = append(response.Items, &message.ApiResponse{Code: code, Body: item.Body})
	}
	return response, nil
}

// RoundTrip implements apiclient.Transport for the one question how far the log is.
func (i *instance) RoundTrip(_ string, r *http.Request) (*http.Response, error) {
	i.wait()
	body := fmt.Sprintf(`{"metadata":{"resourceVersion":"%d"}}`, i.views.Stream(proto.StateStream).Revision())
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte(body))), Request: r}, nil
}

// AcquireFence implements apiclient.Transport.
func (i *instance) AcquireFence(ctx context.Context, _ string, r *message.AcquireFence) (*message.FenceState, error) {
	i.wait()
	fence, err := i.log.AcquireFence(ctx, r.Name, r.Holder, r.Epoch)
	if err != nil {
		return nil, err
	}
	return &message.FenceState{Name: r.Name, Holder: fence.Holder, Epoch: fence.Epoch}, nil
}

// Publish implements leader.Bus.
func (i *instance) Publish(subject string, data []byte) error {
	i.wait()
	return i.conn.Publish(subject, data)
}

// Listen implements leader.Bus.
func (i *instance) Listen(subject string, h func(data []byte)) (func(), error) {
	return leader.OnBus(i.conn).Listen(subject, func(data []byte) {
		i.wait()
		h(data)
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not yet: %s", what)
		}
	}
}
