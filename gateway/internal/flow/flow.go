package flow

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/apiserver/pkg/util/flowcontrol/metrics"
	width "k8s.io/apiserver/pkg/util/flowcontrol/request"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// ViewFunc gives the view that holds a resource.
type ViewFunc func(proto.GroupResource) *statelog.View

// waitLimit is how long a request without a deadline waits for a seat, as upstream's.
const waitLimit = 15 * time.Second

// Options are what fairness reads and writes.
type Options struct {
	// Seats are what all levels share, as the sum of upstream's --max-requests-inflight
	// and --max-mutating-requests-inflight.
	Seats int
	View  ViewFunc
	// API writes the conditions of FlowSchemas, as the administrator.
	API http.RoundTripper
	// LongRunning tells requests that hold no seat; watches hold one while they begin.
	LongRunning request.LongRunningRequestCheck
}

// Fairness decides who is served next.
type Fairness struct {
	o       Options
	control flowcontrol.Interface
	objects *objects
	width   width.WorkEstimatorFunc
}

// New makes a Fairness; it follows the objects once Run runs.
func New(o Options) (*Fairness, error) {
	metrics.Register()
	f := &Fairness{o: o, objects: newObjects(o.View)}
	client, err := newClient(o.API, o.View)
	if err != nil {
		return nil, err
	}
	f.control = flowcontrol.New(factory{objects: f.objects}, client, o.Seats)
	f.width = width.NewWorkEstimator(sizes(o.View), f.control.GetInterestedWatchCount, width.DefaultWorkEstimatorConfig(), f.control.GetMaxSeats)
	return f, nil
}

// Run follows FlowSchemas and priority levels, and lends seats between levels, until
// ctx ends.
func (f *Fairness) Run(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.objects.run(groupCtx) })
	group.Go(func() error { return f.control.Run(groupCtx.Done()) })
	err := group.Wait()
	if ctx.Err() != nil {
		return nil // both end with it
	}
	return err
}

// Handler has requests wait for their seats before next serves them. Members of a
// bulk sit on its seats.
func (f *Fairness) Handler(next http.Handler) http.Handler {
	fair := filters.WithPriorityAndFairness(next, f.o.LongRunning, f.control, f.width, waitLimit)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seated(r.Context()) {
			next.ServeHTTP(w, r)
			return
		}
		fair.ServeHTTP(w, r)
	})
}

// membersPerSeat is how many requests of a bulk share a seat: they come in one
// message, are decided by one user's rules, and most of their time they wait for one
// commit together.
const membersPerSeat = 10

// BulkPath is what a bulk is to FlowSchemas: a POST of its user to this path, which
// is no resource. What its members are about does not matter, or the first of them
// could name the level that serves the rest.
const BulkPath = "/bulk"

// Bulk runs a bulk of n requests once it has its seats, all of them at one time: a
// bulk never holds some while it waits for others, so bulks cannot wait for each
// other. The members must be served with the context that run gets. The error is a
// 429 when there was no seat, and nothing ran.
func (f *Fairness) Bulk(ctx context.Context, u user.Info, n int, run func(context.Context)) error {
	digest := flowcontrol.RequestDigest{User: u, RequestInfo: &request.RequestInfo{Path: BulkPath, Verb: "post"}}
	level, ran := "", false
	wait, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	f.control.Handle(wait, digest,
		func(_ *flowcontrolv1.FlowSchema, l *flowcontrolv1.PriorityLevelConfiguration, _ string) {
			level = l.Name
		},
		func() width.WorkEstimate {
			return width.WorkEstimate{InitialSeats: seats(n, f.control.GetMaxSeats(level))}
		},
		func(bool) {},
		func() {
			ran = true
			run(context.WithValue(ctx, seatedKey{}, true))
		})
	if !ran {
		return apierrors.NewTooManyRequests("Too many requests, please try again later.", 1)
	}
	return nil
}

// seats is what n members take where a request may take at most most; 0 is no bound.
func seats(n int, most uint64) uint64 {
	s := uint64(max(1, (n+membersPerSeat-1)/membersPerSeat))
	if most > 0 {
		s = min(s, most)
	}
	return s
}

type seatedKey struct{}

func seated(ctx context.Context) bool {
	is, _ := ctx.Value(seatedKey{}).(bool)
	return is
}
