package flow

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/mux"
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
	lane    *lane
	crowd   *crowd
	bodies  *bodies
}

// New makes a Fairness; it follows the objects once Run runs.
func New(o Options) (*Fairness, error) {
	metrics.Register()
	f := &Fairness{o: o, objects: newObjects(o.View)}
	cpus := runtime.GOMAXPROCS(0)
	some := max(1, cpus/2)
	f.lane, f.crowd, f.bodies = newLane(some), newCrowd(some), newBodies()
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

// Debug serves what waits and runs at each level, below /debug/api_priority_and_fairness/.
func (f *Fairness) Debug() http.Handler {
	m := mux.NewPathRecorderMux("fairness")
	f.control.Install(m)
	return m
}

// Handler has requests wait for their turns and seats before next serves them. Members
// of a bulk sit on its seats.
func (f *Fairness) Handler(next http.Handler) http.Handler {
	// The filter's goroutine keeps the seat, the request's own serves it: so that the
	// seat can be given back before the request ends.
	seats := filters.WithPriorityAndFairness(http.HandlerFunc(keepSeat), f.o.LongRunning, f.control, f.width, waitLimit)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if seated(r.Context()) || ok && info.Verb != "watch" && f.o.LongRunning(r, info) {
			next.ServeHTTP(w, r)
			return
		}
		p := &place{lane: f.lane, crowd: f.crowd, ctx: r.Context(), seat: func() {}}
		defer p.Signal()
		u, known := request.UserFrom(r.Context())
		if ok && known && !slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
			release, err := f.wait(p, u, r, info)
			if err != nil {
				w.Header().Set("Retry-After", "1")
				http.Error(w, tooMany, http.StatusTooManyRequests)
				return
			}
			defer release()
		}
		f.serve(seats, next, w, r, p)
	})
}

// serve serves a request once it has its seat.
func (f *Fairness) serve(seats, next http.Handler, w http.ResponseWriter, r *http.Request, p *place) {
	k := &keeper{seated: make(chan context.Context, 1), free: make(chan struct{})}
	release := sync.OnceFunc(func() { close(k.free) })
	p.seat = release
	if p.costly {
		// Nobody waits in the lane for those who wait for seats.
		timer := time.AfterFunc(patience, p.yield)
		defer timer.Stop()
	}
	ended := make(chan any, 1)
	go func() { // ends with the request; waited for below
		defer func() { ended <- recover() }()
		seats.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keeperKey{}, k)))
	}()
	select {
	case reason := <-ended: // it was refused
		if reason != nil {
			panic(reason)
		}
	case ctx := <-k.seated:
		defer func() {
			release()
			if reason := <-ended; reason != nil {
				panic(reason)
			}
		}()
		if info, _ := request.RequestInfoFrom(ctx); info.Verb == "watch" {
			begun := ctx
			p.seat = func() { flowcontrol.WatchInitialized(begun) } // it stays registered as long as it lasts
			ctx = flowcontrol.WithInitializationSignal(ctx, p)
		}
		p.resume()
		ctx = context.WithValue(ctx, placeKey{}, p)
		next.ServeHTTP(&writer{w, p, http.NewResponseController(w)}, r.WithContext(ctx))
	}
}

// keeper is how the goroutine that keeps a seat and the one that serves the request know
// of each other.
type keeper struct {
	seated chan context.Context // gets the context to serve with
	free   chan struct{}        // closed when the seat is not needed any more
}

type keeperKey struct{}

func keepSeat(_ http.ResponseWriter, r *http.Request) {
	k, _ := r.Context().Value(keeperKey{}).(*keeper)
	k.seated <- r.Context()
	<-k.free
}

// wait waits until a user may have the request in hand and, if it is costly, for its
// turn: both together as long as for a seat. The function gives back what the body took.
func (f *Fairness) wait(p *place, u user.Info, r *http.Request, info *request.RequestInfo) (func(), error) {
	p.user = u.GetName()
	// A get costs next to nothing, and others may wait for it.
	free, among, costly := func() {}, crowded(u) && info.Verb != "get", f.costly(r, info)
	if among && f.crowd.try(p.user) {
		among, p.inHand = false, true
	}
	if !among && !costly {
		return free, nil
	}
	free, err := f.bodies.hold(r, p.user)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(p.ctx, waitLimit)
	defer cancel()
	if among {
		if err := f.crowd.enter(wait, p.user); err != nil {
			free()
			return nil, err
		}
		p.inHand = true
	}
	if costly {
		if err := f.lane.enter(wait, p.user, waitingMost); err != nil {
			free()
			return nil, err
		}
		p.costly, p.turn, p.waits = true, true, true // for its seat
	}
	return free, nil
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
		return errTooMany()
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
