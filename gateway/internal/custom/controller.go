package custom

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/util/webhook"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/storage"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// definitions is the collection of CustomResourceDefinitions.
var definitions = proto.GroupResource{Group: apiextensionsv1.GroupName, Resource: "customresourcedefinitions"}

// source is what the controller is called in the registry.
const source = "crd"

// Log is what the controller reads.
type Log interface {
	View(gr proto.GroupResource) *statelog.View
	Barrier(ctx context.Context, gr proto.GroupResource) (uint64, error)
}

// Options are what a Controller works with.
type Options struct {
	Log      Log
	Registry *resource.Registry
	// Store makes the plain storage of a kind, to delete instances with.
	Store func(*resource.Kind) *storage.Store
	// Dial reaches conversion webhooks behind Services; nil: by their DNS names.
	Dial   DialFunc
	Logger *zap.Logger
}

// Controller keeps the registry's custom kinds as the definitions say. Safe for
// concurrent use.
type Controller struct {
	o         Options
	factory   *conversion.CRConverterFactory
	documents documents
	// terminating are the collections whose instances are being deleted.
	terminating atomic.Pointer[map[schema.GroupResource]bool]

	// changed is closed when the definitions differ from what the registry says.
	changed atomic.Pointer[<-chan struct{}]

	mu sync.Mutex // guards what follows, and orders changes of the registry
	// known are the definitions as last read, by name.
	known map[string]*known
	// stale says that the registry has kinds of a definition that is gone.
	stale bool
}

// known is one definition as last read and what was made of it.
type known struct {
	entry   *statelog.Entry
	crd     *apiextensionsv1.CustomResourceDefinition // as stored
	planned *apiextensionsv1.CustomResourceDefinition // as it is to be

	served *Definition // nil: not served
	kinds  []*resource.Kind
}

// New makes a controller; nothing happens before Refresh.
func New(o Options) (*Controller, error) {
	factory, err := conversion.NewCRConverterFactory(webhook.NewDefaultServiceResolver(), through(o.Dial))
	if err != nil {
		return nil, fmt.Errorf("conversion webhooks: %w", err)
	}
	return &Controller{o: o, factory: factory, known: map[string]*known{}}, nil
}

// Refresh brings the registry to what this process's view shows. Concurrent calls
// wait for each other.
func (c *Controller) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.o.Log.View(definitions).Changed(definitions)
	if c.read() && c.plan() {
		c.publish()
	}
	c.changed.Store(&changed)
}

// Current is Refresh where this process's view has news, and costs next to nothing
// where it has none: whoever has written a definition here meets it in the next request.
func (c *Controller) Current() {
	changed := c.changed.Load()
	if changed == nil {
		return
	}
	select {
	case <-*changed:
		c.Refresh()
	default:
	}
}

// Settle is Refresh behind a barrier: it knows what any gateway has acknowledged
// before the call.
func (c *Controller) Settle(ctx context.Context) error {
	if _, err := c.o.Log.Barrier(ctx, definitions); err != nil {
		return err
	}
	c.Refresh()
	return nil
}

// read takes what is new in the view; it says whether anything was.
func (c *Controller) read() bool {
	changed := false
	live := map[string]bool{}
	c.o.Log.View(definitions).Snapshot(definitions).Ascend("", func(e *statelog.Entry) bool {
		name := e.Key().Name
		live[name] = true
		k := c.known[name]
		if k != nil && k.entry == e {
			return true
		}
		changed = true
		crd, err := outlineOf(e)
		if err != nil {
			// The gateway wrote it, so only a newer gateway's could be of another form.
			c.o.Logger.Error("a definition cannot be read", zap.String("name", name), zap.Error(err))
			return true
		}
		if k == nil {
			k = &known{}
			c.known[name] = k
		}
		k.entry, k.crd = e, crd
		return true
	})
	for name, k := range c.known {
		if !live[name] {
			delete(c.known, name)
			changed = true
			c.stale = c.stale || k.served != nil
		}
	}
	return changed
}

// sorted gives the known definitions by name.
func (c *Controller) sorted() []*known {
	names := make([]string, 0, len(c.known))
	for name := range c.known {
		names = append(names, name)
	}
	slices.Sort(names)
	out := make([]*known, len(names))
	for i, name := range names {
		out[i] = c.known[name]
	}
	return out
}

// plan decides on all definitions and makes what is served of them. It says whether
// the registry has to change.
func (c *Controller) plan() bool {
	all := c.sorted()
	crds := make([]*apiextensionsv1.CustomResourceDefinition, len(all))
	for i, k := range all {
		crds[i] = k.crd
	}
	changed := c.stale
	c.stale = false
	for i, planned := range plan(crds, c.builtIn) {
		all[i].planned = planned
		changed = c.make(all[i]) || changed
	}
	return changed
}

// builtIn lists the resources that the gateway has of itself in a group.
func (c *Controller) builtIn(group string) []string {
	var out []string
	for _, k := range resource.BuiltIn() {
		if k.GVR.Group == group {
			out = append(out, k.GVR.Resource)
		}
	}
	return out
}

// make brings what is served of a definition up to date; it says whether that changed.
func (c *Controller) make(k *known) bool {
	if !apihelpers.IsCRDConditionTrue(k.planned, apiextensionsv1.Established) || slices.Contains(c.builtIn(k.planned.Spec.Group), k.planned.Status.AcceptedNames.Plural) {
		changed := k.served != nil
		k.served, k.kinds = nil, nil
		return changed
	}
	terminating := !k.planned.DeletionTimestamp.IsZero() || apihelpers.IsCRDConditionTrue(k.planned, apiextensionsv1.Terminating)
	if k.served != nil && same(k.served.crd, k.planned) {
		k.served.entry.Store(k.entry)
		return k.served.terminating.Swap(terminating) != terminating
	}
	k.served = newDefinition(k.planned, k.entry, c.factory)
	k.served.terminating.Store(terminating)
	k.kinds = k.served.kinds()
	return true
}

// same says that two states of a definition are served alike. The generation counts
// the changes of the spec.
func same(a, b *apiextensionsv1.CustomResourceDefinition) bool {
	return a.UID == b.UID && a.Generation == b.Generation && sameNames(a.Status.AcceptedNames, b.Status.AcceptedNames)
}

func (c *Controller) publish() {
	var kinds []*resource.Kind
	var served []*Definition
	ending := map[schema.GroupResource]bool{}
	for _, k := range c.sorted() {
		if k.served != nil {
			kinds = append(kinds, k.kinds...)
			served = append(served, k.served)
			if k.served.terminating.Load() {
				ending[schema.GroupResource{Group: k.planned.Spec.Group, Resource: k.planned.Status.AcceptedNames.Plural}] = true
			}
		}
	}
	c.terminating.Store(&ending)
	c.documents.set(served)
	c.o.Registry.Set(source, inOrder(kinds))
}

// Terminating says that the instances of a collection are being deleted with their
// definition.
func (c *Controller) Terminating(gr schema.GroupResource) bool {
	ending := c.terminating.Load()
	return ending != nil && (*ending)[gr]
}
