// Package frame is what all controllers have in common, so that a controller is three
// things: which changes wake which key, a pure plan, and how the plan is written.
//
// A Definition names a controller and makes it for a term of leadership; a Group of
// them is led as one. Promises: a controller is made once a term, before it hears of
// anything; it works only after every mirror it follows is filled, and hears nothing
// any more when the term is over; each speaks as its own user, under the term's
// fence; a reconcile never decides from a mirror that lacks one of its own writes,
// however late that is, and a worker never waits for one longer than mirror.Patience.
package frame

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/rand"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/message"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// Definition says what a controller is.
type Definition struct {
	// Name is upstream's, such as "job": that of its queue, in logs and in the
	// configuration's list.
	Name string
	// User is the ServiceAccount in kube-system that it speaks as, upstream's too.
	User string
	// Component is the source of its Events; "" is User.
	Component string
	// Workers is how many keys are looked at at a time; 0: as configured.
	Workers int
	// Make is called once a term. Nil: the controller has nothing to do as configured.
	Make func(e *Env) (Loop, error)
}

// Group is led as one: its controllers run in the same process.
type Group struct {
	Name        string // part of the fence's name, and of that of its credential
	Controllers []Definition
}

// Loop works until ctx ends.
type Loop interface {
	Run(ctx context.Context, workers int) error
}

// LoopFunc is a Loop without a queue.
type LoopFunc func(ctx context.Context, workers int) error

// Run implements Loop.
func (f LoopFunc) Run(ctx context.Context, workers int) error { return f(ctx, workers) }

// Settings are what of the service's configuration controllers read.
type Settings struct {
	PodCIDR                string // ranges, comma separated, one a family
	NodeMaskSize           int
	NodeMaskSizeIPv6       int
	RootCA                 string // PEM; "": unknown
	SigningCertFile        string // CA for certificates that are asked for; "": none is signed
	SigningKeyFile         string
	NodeGracePeriod        time.Duration
	NodeStartGracePeriod   time.Duration
	TerminatedPodThreshold int
	// LegacyTokenCleanUpPeriod is how long a token must be unused to go.
	LegacyTokenCleanUpPeriod time.Duration

	NodeEvictionRate          float64 // nodes a second in a zone
	SecondaryNodeEvictionRate float64
	UnhealthyZoneThreshold    float64 // part of a zone
	LargeClusterSizeThreshold int     // nodes in a zone
}

// World is what all terms of a process share that have a credential in common.
type World struct {
	Mirrors  *mirror.World
	Views    *statelog.Views
	Bus      Bus
	API      *apiclient.Client
	Settings *Settings
	Workers  int
	Logger   *zap.Logger
	// Suffix ends the names of new objects, of which it is told namespace and beginning; nil: at random.
	Suffix func(base string) string
}

// Env is what a controller has during a term.
type Env struct {
	Name   string // the definition's
	World  *mirror.World
	Writer *write.Client
	Events *event.Recorder
	Logger *zap.Logger
	Config *Settings
	Views  *statelog.Views
	Feed   *feed.Feed // of every kind; shared by the term's controllers
	Bus    Bus
	Suffix func(base string) string // ends a name that is to be new; base is its namespace and beginning

	stops  []func()
	beside []func(ctx context.Context) error
	looks  map[proto.GroupResource]bool
}

// NewEnv is what a controller has that needs no views, feed or bus. Tests make one by
// themselves.
func NewEnv(name, component string, world *mirror.World, writer *write.Client, settings *Settings, logger *zap.Logger) *Env {
	return &Env{
		Name: name, World: world, Writer: writer, Events: event.NewRecorder(component, writer, logger),
		Logger: logger, Config: settings, Suffix: func(string) string { return rand.String(5) },
	}
}

// View is the log's view of a resource that is not mirrored.
func (e *Env) View(gr proto.GroupResource) *statelog.View {
	if e.looks == nil {
		e.looks = map[proto.GroupResource]bool{}
	}
	e.looks[gr] = true
	return e.Views.For(gr)
}

// Needs is what of the log the controller looks at, mirrors apart.
func (e *Env) Needs() []proto.GroupResource { return slices.Collect(maps.Keys(e.looks)) }

// Until has stop called when the term is over.
func (e *Env) Until(stop func()) { e.stops = append(e.stops, stop) }

// Go runs f beside the controller; its error ends the term.
func (e *Env) Go(f func(ctx context.Context) error) { e.beside = append(e.beside, f) }

// End stops what the controller listens to.
func (e *Env) End() {
	for _, stop := range e.stops {
		stop()
	}
}

type running struct {
	Definition
	env  *Env
	loop Loop
}

// Run runs a group's controllers for one term: until ctx ends or one of them fails.
// ready is called when they begin to work.
func (g Group) Run(ctx context.Context, w *World, fence *message.Fence, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	var loops []running
	defer func() {
		for _, r := range loops {
			r.env.End()
		}
	}()
	writer := func(user string) *write.Client {
		return write.New(w.API.As(proto.ControllerUser(user)), func() *message.Fence { return fence })
	}
	all := feed.New(w.Views.Stream(proto.StateStream), write.New(w.API.As(proto.ControllersLeader(g.Name)), nil).Read, w.Logger)
	for _, d := range g.Controllers {
		component := d.Component
		if component == "" {
			component = d.User
		}
		env := NewEnv(d.Name, component, w.Mirrors, writer(d.User), w.Settings, w.Logger.With(zap.String("controller", d.Name)))
		env.Views, env.Feed, env.Bus = w.Views, all, w.Bus
		if w.Suffix != nil {
			env.Suffix = w.Suffix
		}
		loop, err := d.Make(env)
		loops = append(loops, running{d, env, loop})
		if err != nil {
			return fmt.Errorf("controller %s: %w", d.Name, err)
		}
		if loop != nil {
			group.Go(func() error { return env.Events.Run(ctx) })
		}
	}
	if all.Subscribed() {
		group.Go(func() error { return all.Run(ctx) })
	}
	if err := w.caughtUp(ctx, fence); err == nil {
		w.Logger.Info("controllers are running", zap.String("group", g.Name), zap.Int("controllers", len(loops)))
		ready()
		for _, r := range loops {
			for _, f := range r.env.beside {
				group.Go(func() error { return f(ctx) })
			}
			workers := r.Workers
			if workers == 0 {
				workers = w.Workers
			}
			if r.loop != nil {
				group.Go(func() error { return r.loop.Run(ctx, workers) })
			}
		}
	}
	return group.Wait()
}

// caughtUp returns once every mirror that is followed shows what the log held when the term
// began: the fence is a message of the log, and what the leader before wrote is before it.
// Without a fence there is no leader before. The error is ctx's.
func (w *World) caughtUp(ctx context.Context, fence *message.Fence) error {
	if err := w.Mirrors.Ready(ctx); err != nil {
		return err
	}
	if fence != nil {
		if err := w.Views.Stream(proto.StateStream).WaitFor(ctx, fence.Epoch); err != nil {
			return err
		}
	}
	return w.Mirrors.CatchUp(ctx, w.Views)
}
