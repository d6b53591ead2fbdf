package gateway

import (
	"context"
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/chain"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
)

// ServeHTTP answers a request whose sender has to authenticate.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.chain.ServeHTTP(w, r) }

// ServeAs answers a request of a user whom the transport has authenticated.
func (g *Gateway) ServeAs(user string, w http.ResponseWriter, r *http.Request) {
	g.chain.ServeAs(chain.BusUser(user), w, r)
}

// bulkWorkers is how many requests of one bulk run at a time; of an atomic one
// all do, since they commit together.
const bulkWorkers = 128

// BulkAs answers many requests at once. The bulk waits for its seats, then each passes
// the whole chain; their writes are committed together, all or none where the bulk is
// atomic.
func (g *Gateway) BulkAs(ctx context.Context, user string, r *message.BulkRequest) (*message.BulkResponse, error) {
	if len(r.Items) > apiclient.BulkMost {
		return nil, apierrors.NewRequestEntityTooLargeError("a bulk holds at most 1000 requests")
	}
	var resp *message.BulkResponse
	err := g.fairness.Bulk(ctx, chain.BusUser(user), len(r.Items), func(ctx context.Context) { resp = g.bulk(ctx, user, r) })
	return resp, err
}

func (g *Gateway) bulk(ctx context.Context, user string, r *message.BulkRequest) *message.BulkResponse {
	if f := r.Fence; f != nil {
		ctx = statelog.WithFence(ctx, statelog.FenceEpoch{Name: f.Name, Epoch: f.Epoch})
	}
	var group *statelog.Group
	workers := bulkWorkers
	if r.Atomic {
		group = statelog.NewGroup(len(r.Items))
		ctx = storage.WithoutRetry(ctx)
		workers = len(r.Items)
	}
	resp := &message.BulkResponse{Items: make([]*message.ApiResponse, len(r.Items))}
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(workers, len(r.Items)) {
		wait.Go(func() {
			for i := range next {
				resp.Items[i] = g.bulkItem(ctx, user, r.Items[i], group)
			}
		})
	}
	for i := range r.Items {
		next <- i
	}
	close(next)
	wait.Wait()
	return resp
}

func (g *Gateway) bulkItem(ctx context.Context, user string, item *message.ApiRequest, group *statelog.Group) *message.ApiResponse {
	failed := true
	if group != nil {
		ctx = statelog.WithGroup(ctx, group)
		defer func() { group.Leave(failed) }()
	}
	req, err := apiclient.NewRequest(ctx, item)
	if err != nil {
		w := apiclient.NewRecorder()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return w.Response()
	}
	resp := apiclient.Record(g, user, req)
	failed = resp.Code >= http.StatusBadRequest
	return resp
}

// AcquireFenceAs takes a fence for the service whose it is.
func (g *Gateway) AcquireFenceAs(ctx context.Context, user string, r *message.AcquireFence) (*message.FenceState, error) {
	if user != AdminUser && !proto.MayHold(user, r.Name) {
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "fences"}, r.Name, errNotAService)
	}
	fence, err := g.state.AcquireFence(ctx, r.Name, r.Holder, r.Epoch)
	if err != nil {
		return nil, err
	}
	return &message.FenceState{Name: r.Name, Holder: fence.Holder, Epoch: fence.Epoch}, nil
}

// onBus is the gateway as the bus reaches it: nobody there is the administrator.
type onBus struct{ *Gateway }

func (b onBus) ServeAs(user string, w http.ResponseWriter, r *http.Request) {
	if user == AdminUser {
		http.Error(w, errNotAService.Error(), http.StatusForbidden)
		return
	}
	b.Gateway.ServeAs(user, w, r)
}

func (b onBus) BulkAs(ctx context.Context, user string, r *message.BulkRequest) (*message.BulkResponse, error) {
	if user == AdminUser {
		return nil, apierrors.NewForbidden(schema.GroupResource{}, "", errNotAService)
	}
	return b.Gateway.BulkAs(ctx, user, r)
}

func (b onBus) AcquireFenceAs(ctx context.Context, user string, r *message.AcquireFence) (*message.FenceState, error) {
	if user == AdminUser {
		return nil, apierrors.NewForbidden(schema.GroupResource{}, "", errNotAService)
	}
	return b.Gateway.AcquireFenceAs(ctx, user, r)
}
