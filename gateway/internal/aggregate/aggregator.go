package aggregate

import (
	"cmp"
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	api "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"kubus.dev/gateway/internal/discovery"
	"kubus.dev/gateway/internal/openapi"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

var (
	apiServices    = proto.GroupResource{Group: api.GroupName, Resource: "apiservices"}
	services       = proto.GroupResource{Resource: "services"}
	endpointSlices = proto.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

// Options are what aggregation needs.
type Options struct {
	View     func(proto.GroupResource) *statelog.View
	Registry *resource.Registry
	Storage  *storage.Set
	// Dial reaches the Services behind APIServices.
	Dial DialFunc
	// ClientCertificate proves to them that the gateway may name users; nil: nothing does.
	ClientCertificate func() (*tls.Certificate, error)
	// Delegates are group versions that a service of the cluster serves, with the way to
	// it. They stand behind APIServices that name no Service, so an APIService that names
	// one takes their place, and its end brings them back. What they serve is known, so
	// that discovery is whole without them.
	Delegates map[schema.GroupVersion]Delegate
	// User is who status and registrations are written by.
	User   user.Info
	Logger *zap.Logger
}

// Delegate is a service of the cluster that serves a group version.
type Delegate struct {
	Road      http.RoundTripper
	Priority  resource.Priority
	Resources []metav1.APIResource
}

// Aggregator follows APIServices. Safe for concurrent use.
type Aggregator struct {
	o     Options
	table atomic.Pointer[table]

	mu      sync.Mutex // guards what follows, and orders the swaps of table
	objects map[string]*api.APIService
	byName  map[string]*remote
	checks  map[string]context.CancelFunc

	missing chan struct{} // an APIService went that is ours to keep
}

// table is all remote group versions at one moment. It never changes.
type table struct {
	remotes map[schema.GroupVersion]*remote
	shown   *discovery.Remotes
	parts   *openapi.Parts
}

// New makes an Aggregator; it knows of no other server before Run.
func New(o Options) *Aggregator {
	a := &Aggregator{o: o, objects: map[string]*api.APIService{}, byName: map[string]*remote{}, checks: map[string]context.CancelFunc{}, missing: make(chan struct{}, 1)}
	a.table.Store(&table{shown: &discovery.Remotes{}, parts: &openapi.Parts{}})
	return a
}

// Remotes is what discovery shows of other servers.
func (a *Aggregator) Remotes() *discovery.Remotes { return a.table.Load().shown }

// Run follows the APIServices until ctx ends.
func (a *Aggregator) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.register(ctx) })
	group.Go(func() error {
		err := statelog.Follow(ctx, a.o.View(apiServices), apiServices, func(k proto.Key, e *statelog.Entry) { a.take(ctx, group, k, e) }, nil)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
	return group.Wait()
}

// take hears of an APIService's next state; a nil entry: it is gone.
func (a *Aggregator) take(ctx context.Context, group *errgroup.Group, k proto.Key, e *statelog.Entry) {
	var s *api.APIService
	if e != nil {
		var err error
		if s, err = statelog.Decode[api.APIService](e); err != nil {
			a.o.Logger.Error("an APIService cannot be read", zap.String("name", k.Name), zap.Error(err))
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before, old := a.byName[k.Name], a.objects[k.Name]
	if s == nil {
		a.restore()
	}
	if s == nil || s.Spec.Service == nil && a.delegate(s).Road == nil {
		delete(a.objects, k.Name)
		if before == nil {
			return
		}
		delete(a.byName, k.Name)
		a.stopCheck(k.Name)
		a.publish()
		return
	}
	a.objects[k.Name] = s
	a.byName[k.Name] = a.newRemote(s, before, old)
	a.publish()
	if a.checks[k.Name] != nil && sameServer(s, old) && judged(s) {
		return
	}
	a.stopCheck(k.Name)
	if s.Spec.Service == nil {
		return // as upstream's own, a delegate is always there
	}
	ctx, stop := context.WithCancel(ctx)
	a.checks[k.Name] = stop
	group.Go(func() error {
		a.check(ctx, k.Name)
		return nil
	})
}

// judged says whether an APIService tells if its server is there: somebody may have written
// over it.
func judged(s *api.APIService) bool {
	return slices.ContainsFunc(s.Status.Conditions, func(c api.APIServiceCondition) bool { return c.Type == api.Available })
}

// stopCheck ends the check of a server, if there is one. The caller holds mu.
func (a *Aggregator) stopCheck(name string) {
	if stop := a.checks[name]; stop != nil {
		stop()
		delete(a.checks, name)
	}
}

// delegate is what serves an APIService's group version when it names no Service; without
// a Road it is the gateway itself.
func (a *Aggregator) delegate(s *api.APIService) Delegate {
	return a.o.Delegates[schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}]
}

// restore has the APIServices that are ours to keep looked at again.
func (a *Aggregator) restore() {
	select {
	case a.missing <- struct{}{}:
	default:
	}
}

// heard keeps what a check found out about a server.
func (a *Aggregator) heard(from, heard *remote) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byName[from.name] != from {
		return // somebody changed the object meanwhile; the next check asks again
	}
	if from.available == heard.available && from.described == heard.described && reflect.DeepEqual(from.resources, heard.resources) {
		return
	}
	a.byName[from.name] = heard
	a.publish()
}

func (a *Aggregator) remote(name string) *remote {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byName[name]
}

// publish swaps the table. The caller holds mu.
func (a *Aggregator) publish() {
	next := &table{remotes: make(map[schema.GroupVersion]*remote, len(a.byName)), shown: &discovery.Remotes{}}
	parts := &openapi.Parts{}
	for _, r := range slices.SortedFunc(maps.Values(a.byName), func(x, y *remote) int { return cmp.Compare(x.name, y.name) }) {
		next.remotes[r.gv] = r
		next.shown.All = append(next.shown.All, r.shown())
		if part, ok := r.part(); ok {
			parts.List = append(parts.List, part)
		}
	}
	// Documents are made anew when the parts are another value.
	if before := a.table.Load().parts; sameParts(before, parts) {
		parts = before
	}
	next.parts = parts
	a.table.Store(next)
}

func sameParts(a, b *openapi.Parts) bool {
	return slices.EqualFunc(a.List, b.List, func(x, y openapi.Part) bool { return x.Path == y.Path && x.Hash == y.Hash })
}
