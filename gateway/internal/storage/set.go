package storage

import (
	"context"
	"errors"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/apis/batch"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/rbac"
	"k8s.io/kubernetes/pkg/apis/scheduling"
	schedulingv1 "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	clusterrole "k8s.io/kubernetes/pkg/registry/rbac/clusterrole/policybased"
	clusterrolebinding "k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding/policybased"
	role "k8s.io/kubernetes/pkg/registry/rbac/role/policybased"
	rolebinding "k8s.io/kubernetes/pkg/registry/rbac/rolebinding/policybased"
	rbacvalidation "k8s.io/kubernetes/pkg/registry/rbac/validation"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
)

// Options are what some kinds need beyond the log.
type Options struct {
	// Registry is the table that kinds are looked up in.
	Registry *resource.Registry
	// Authorizer and Rules are asked before somebody grants rights. Nil: no
	// roles or bindings can be written but by system:masters. The former is also
	// asked by strategies (resource.Others).
	Authorizer authorizer.UnconditionalAuthorizer
	Rules      rbacvalidation.AuthorizationRuleResolver
	// Hooks by collection.
	Hooks map[proto.GroupResource]Hooks
	// Shown are the collections that show more than is stored.
	Shown map[proto.GroupResource]Shown
}

// Set makes the storage of kinds and of their subresources, each at its first use.
type Set struct {
	backend *Backend
	options Options
	kinds   resource.PerKind[*stores]
}

// stores are those of one kind.
type stores struct {
	plain *Store
	main  rest.StandardStorage
	sub   map[string]any
}

// NewSet makes the storage of whatever kinds there will be.
func NewSet(backend *Backend, options Options) *Set {
	return &Set{backend: backend, options: options}
}

func (s *Set) of(kind *resource.Kind) *stores {
	return s.kinds.Of(kind, func() *stores {
		hooks := s.options.Hooks[kind.GR()]
		if kind.GroupResource() == core.Resource("namespaces") {
			hooks.DeleteDuringUpdate = keepUnfinalized
		}
		strategies := kind.Strategies(s.others())
		plain := newStore(kind, strategies, s.backend, hooks)
		return &stores{plain: plain, main: guarded(plain, s.options), sub: s.subresources(plain, strategies)}
	})
}

// Store is a kind's plain storage, without the checks that guard grants.
func (s *Set) Store(kind *resource.Kind) *Store { return s.of(kind).plain }

// Detached is the plain storage of a kind that is in no table. Nothing keeps it.
func (s *Set) Detached(kind *resource.Kind) *Store {
	return newStore(kind, kind.Strategies(s.others()), s.backend, Hooks{})
}

// Main is the storage of a kind's main resource.
func (s *Set) Main(kind *resource.Kind) rest.StandardStorage { return s.of(kind).main }

// Subresource is a rest.Patcher, rest.Updater or rest.NamedCreater; nil where the
// subresource is served by somebody else.
func (s *Set) Subresource(kind *resource.Kind, name string) any { return s.of(kind).sub[name] }

// guarded adds what a kind checks outside its strategies.
func guarded(store *Store, o Options) rest.StandardStorage {
	if shown := o.Shown[store.kind.GR()]; shown != nil {
		return shownBeside{store, shown}
	}
	switch store.kind.GroupResource() {
	case core.Resource("namespaces"):
		return namespaces{store}
	case batch.Resource("jobs"):
		return jobs{store}
	case apiextensions.Resource("customresourcedefinitions"):
		return definitions{store}
	case scheduling.Resource("priorityclasses"):
		return priorityClasses{store}
	case rbac.Resource("clusterroles"):
		return clusterrole.NewStorage(store, o.Authorizer, o.Rules)
	case rbac.Resource("roles"):
		return role.NewStorage(store, o.Authorizer, o.Rules)
	case rbac.Resource("clusterrolebindings"):
		return clusterrolebinding.NewStorage(store, o.Authorizer, asRequested{o.Rules, store.kind.GroupResource()})
	case rbac.Resource("rolebindings"):
		return rolebinding.NewStorage(store, o.Authorizer, asRequested{o.Rules, store.kind.GroupResource()})
	}
	return store
}

func (s *Set) subresources(store *Store, strategies resource.Strategies) map[string]any {
	out := map[string]any{}
	for _, sub := range store.kind.Subresources {
		name := store.kind.GVR.Resource + "/" + sub.Name
		switch update := strategies.Parts[sub.Name]; {
		case sub.Storage != nil:
			out[sub.Name] = sub.Storage(store)
		case update != nil:
			out[sub.Name] = part{store.With(update)}
		case sub.Scale:
			if scalable, ok := scalables[store.kind.GroupResource()]; ok {
				out[sub.Name] = scale{store, scalable}
			}
		case name == "pods/binding":
			out[sub.Name] = binding{store}
		case name == "pods/eviction":
			out[sub.Name] = eviction{pods: store.With(strategies.Parts["status"]), budgets: s.budgets}
		}
	}
	return out
}

// Unstored is the storage of a kind that is only asked: a rest.Creater, or a
// rest.Getter and rest.Lister; nil where somebody else answers.
func (s *Set) Unstored(gr schema.GroupResource) any {
	switch gr {
	case core.Resource("bindings"):
		return legacyBinding{func() binding { return binding{s.Store(s.builtIn(podsGVR))} }}
	case core.Resource("componentstatuses"):
		return components{s.backend.Log}
	}
	return nil
}

// builtIn finds the row of a kind that every gateway serves.
func (s *Set) builtIn(gvr schema.GroupVersionResource) *resource.Kind {
	kind := s.options.Registry.Find(gvr)
	if kind == nil {
		panic("the table has no " + gvr.String())
	}
	return kind
}

var (
	podsGVR       = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	namespacesGVR = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	budgetsGVR    = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
)

// priorityClasses keeps the two system classes.
type priorityClasses struct{ *Store }

func (p priorityClasses) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	for _, system := range schedulingv1.SystemPriorityClassNames() {
		if name == system {
			return nil, false, apierrors.NewForbidden(p.kind.GroupResource(), name, errors.New("this is a system priority class and cannot be deleted"))
		}
	}
	return p.Store.Delete(ctx, name, validate, options)
}
