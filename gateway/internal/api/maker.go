package api

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/endpoints/deprecation"
	"k8s.io/apiserver/pkg/endpoints/handlers"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"kubus.dev/gateway/internal/resource"
)

// apiMajor and apiMinor are the version of the API that is served.
const apiMajor, apiMinor = 1, 37

// maxBody is upstream's limit of a request's body.
const maxBody = 3 << 20

// maker makes endpoints.
type maker struct {
	o Options
}

func newMaker(o Options) *maker { return &maker{o: o} }

// kind makes everything that is served of a kind.
func (m *maker) kind(kind *resource.Kind) map[route]*endpoint {
	out := map[route]*endpoint{}
	for _, gv := range kind.Served {
		out[route{gv, ""}] = m.main(kind, gv)
		for i := range kind.Subresources {
			sub := &kind.Subresources[i]
			if e := m.sub(kind, gv, sub); e != nil {
				out[route{gv, sub.Name}] = e
			}
		}
	}
	return out
}

// equivalents finds the other versions and groups under which a resource is served.
type equivalents struct{ registry *resource.Registry }

// EquivalentResourcesFor is upstream's: the resources that show the same objects.
func (e equivalents) EquivalentResourcesFor(gvr schema.GroupVersionResource, subresource string) []schema.GroupVersionResource {
	table := e.registry.Load()
	kind := table.Find(gvr)
	if kind == nil || subresource != "" && kind.Subresource(subresource) == nil {
		return nil
	}
	if !kind.Custom {
		return served(kind)
	}
	var out []schema.GroupVersionResource
	for _, gv := range table.Versions() {
		if gv.Group == gvr.Group {
			if other := table.Find(gv.WithResource(gvr.Resource)); other != nil && (subresource == "" || other.Subresource(subresource) != nil) {
				out = append(out, gv.WithResource(gvr.Resource))
			}
		}
	}
	return out
}

func served(kind *resource.Kind) []schema.GroupVersionResource {
	out := make([]schema.GroupVersionResource, 0, len(kind.Served))
	for _, gv := range kind.Served {
		out = append(out, gv.WithResource(kind.GVR.Resource))
	}
	return out
}

// KindFor is upstream's.
func (e equivalents) KindFor(gvr schema.GroupVersionResource, subresource string) schema.GroupVersionKind {
	kind := e.registry.Find(gvr)
	if kind == nil {
		return schema.GroupVersionKind{}
	}
	if subresource == "" {
		return kind.ServedKind(gvr.GroupVersion())
	}
	if sub := kind.Subresource(subresource); sub != nil {
		return kind.SubresourceKind(sub, gvr.GroupVersion())
	}
	return schema.GroupVersionKind{}
}

// later makes a handler anew for each request, as upstream's installer does:
// upstream's handlers wrap the admission chain that they were made with, so one
// that served twice would wrap it twice.
func later(make func() http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { make()(w, r) })
}

// main is a kind's main resource as gv.
func (m *maker) main(kind *resource.Kind, gv schema.GroupVersion) *endpoint {
	store := m.o.Storage.Main(kind)
	scope := sync.OnceValue(func() requestScope {
		return m.scope(target{gvr: gv.WithResource(kind.GVR.Resource), gvk: kind.ServedKind(gv), namespaced: kind.Namespaced, reset: kind.Update, tables: kind.Tables,
			types: kind.Codec.Machinery(gv, "")})
	})
	all := map[string]http.Handler{
		"create": later(func() http.HandlerFunc { return handlers.CreateResource(store, scope().RequestScope, m.o.Admission) }),
		"update": later(func() http.HandlerFunc { return handlers.UpdateResource(store, scope().RequestScope, m.o.Admission) }),
		"patch": later(func() http.HandlerFunc {
			s := scope()
			return handlers.PatchResource(store, s.RequestScope, m.o.Admission, s.patchTypes)
		}),
		"delete": later(func() http.HandlerFunc {
			return handlers.DeleteResource(store, true, scope().RequestScope, m.o.Admission)
		}),
		"deletecollection": later(func() http.HandlerFunc {
			return handlers.DeleteCollection(store, true, scope().RequestScope, m.o.Admission)
		}),
	}
	if m.o.Read != nil {
		read := m.o.Read(kind, gv)
		if !kind.Namespaced {
			read = withoutNamespace(read)
		}
		all["get"], all["list"], all["watch"] = read, read, read
	}
	verbs := map[string]http.Handler{}
	for verb, h := range all {
		if kind.Serves(verb) {
			verbs[verb] = h
		}
	}
	return &endpoint{namespaced: kind.Namespaced, custom: kind.Custom, deprecation: deprecationOf(kind, gv), verbs: verbs}
}

// deprecationOf is the warning about a kind as gv; "" where there is none.
func deprecationOf(kind *resource.Kind, gv schema.GroupVersion) string {
	if kind.Custom {
		return kind.Deprecation
	}
	return deprecated(kind.ServedKind(gv))
}

// deprecated is upstream's warning about a built-in kind.
func deprecated(gvk schema.GroupVersionKind) string {
	obj, err := resource.Scheme.New(gvk)
	if err != nil {
		return "" // the scheme knows every kind of the table, as its test holds
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	if !deprecation.IsDeprecated(obj, apiMajor, apiMinor) {
		return ""
	}
	return deprecation.WarningMessage(obj)
}

// withoutNamespace takes the namespace out of the request info: for a Namespace it
// holds the object's own name.
func withoutNamespace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && info.Namespace != "" {
			plain := *info
			plain.Namespace = ""
			r = r.WithContext(request.WithRequestInfo(r.Context(), &plain))
		}
		next.ServeHTTP(w, r)
	})
}

// sub is a subresource of a kind as gv; nil where nobody serves it.
func (m *maker) sub(kind *resource.Kind, gv schema.GroupVersion, sub *resource.Subresource) *endpoint {
	name := kind.GVR.Resource + "/" + sub.Name
	if connect := m.o.Connect[name]; connect != nil {
		e := &endpoint{namespaced: kind.Namespaced, connect: m.admitted(kind, gv, sub, connect)}
		if sub.Name != "proxy" {
			e.connectVerbs = sub.Verbs
		}
		return e
	}
	var store any = m.o.Storage.Subresource(kind, sub.Name)
	if named := m.o.NamedCreaters[name]; named != nil {
		store = named
	}
	if store == nil {
		return nil
	}
	t := target{gvr: gv.WithResource(kind.GVR.Resource), subresource: sub.Name, gvk: kind.SubresourceKind(sub, gv), namespaced: kind.Namespaced, reset: resetOf(name, sub),
		types: kind.Codec.Machinery(gv, sub.Name)}
	if !kind.Custom {
		// The path may take a kind of another group, whose hub is its own.
		t.types = resource.SchemeMachinery(sub.Kind.Group)
	}
	if (sub.Name == "status" || sub.Scale) && !sub.Untabled {
		t.tables = kind.Tables
	}
	if sub.Tables != nil {
		t.tables = sub.Tables
	}
	if accepts, ok := store.(rest.GroupVersionAcceptor); ok {
		t.accepts = accepts
	}
	scope := sync.OnceValue(func() requestScope { return m.scope(t) })
	verbs := map[string]http.Handler{}
	if creater, ok := store.(rest.NamedCreater); ok {
		verbs["create"] = later(func() http.HandlerFunc {
			return handlers.CreateNamedResource(creater, scope().RequestScope, m.o.Admission)
		})
	}
	if updater, ok := store.(rest.Updater); ok {
		verbs["update"] = later(func() http.HandlerFunc { return handlers.UpdateResource(updater, scope().RequestScope, m.o.Admission) })
	}
	if patcher, ok := store.(rest.Patcher); ok && slices.Contains(sub.Verbs, "patch") {
		verbs["patch"] = later(func() http.HandlerFunc {
			s := scope()
			return handlers.PatchResource(patcher, s.RequestScope, m.o.Admission, s.patchTypes)
		})
		verbs["get"] = later(func() http.HandlerFunc { return handlers.GetResource(patcher, scope().RequestScope) })
	}
	return &endpoint{namespaced: kind.Namespaced, custom: kind.Custom, verbs: verbs}
}

// review is a kind that is only asked: answers is a rest.Creater, or a rest.Getter and
// rest.Lister.
// resetOf is the strategy that tells what a subresource takes from nobody. Upstream's
// storages of two do not pass theirs on, so that whoever tries owns what has no effect.
func resetOf(name string, sub *resource.Subresource) any {
	if name == "pods/ephemeralcontainers" || name == "pods/resize" {
		return nil
	}
	return sub.Update
}

func (m *maker) review(review resource.Review, answers any) *endpoint {
	tables, _ := answers.(rest.TableConvertor)
	scope := sync.OnceValue(func() requestScope {
		return m.scope(target{gvr: review.GVR, gvk: review.GVK, namespaced: review.Namespaced, tables: tables, types: resource.SchemeMachinery(review.GVK.Group)})
	})
	verbs := map[string]http.Handler{}
	if creater, ok := answers.(rest.Creater); ok {
		verbs["create"] = later(func() http.HandlerFunc { return handlers.CreateResource(creater, scope().RequestScope, m.o.Admission) })
	}
	getter, named := answers.(rest.Getter)
	if named {
		verbs["get"] = later(func() http.HandlerFunc { return handlers.GetResource(getter, scope().RequestScope) })
	}
	if lister, ok := answers.(rest.Lister); ok {
		verbs["list"] = later(func() http.HandlerFunc {
			return handlers.ListResource(lister, nil, scope().RequestScope, false, listTimeout)
		})
	}
	return &endpoint{namespaced: review.Namespaced, nameless: !named, deprecation: deprecated(review.GVK), verbs: verbs}
}

// listTimeout is the least that a watch would last; nothing here is watched.
const listTimeout = 30 * time.Minute

// target is what a scope is for.
type target struct {
	gvr         schema.GroupVersionResource
	subresource string
	gvk         schema.GroupVersionKind
	namespaced  bool
	accepts     rest.GroupVersionAcceptor
	reset       any                 // a strategy that may name the fields it resets
	tables      rest.TableConvertor // nil: a Table is not acceptable, as upstream has it for what is only created
	types       *resource.Machinery
}

// requestScope is upstream's, with what else its handlers are made with.
type requestScope struct {
	*handlers.RequestScope
	patchTypes []string
}

func (m *maker) scope(t target) requestScope {
	s := &handlers.RequestScope{
		Namer:                       handlers.ContextBasedNaming{Namer: runtime.Namer(meta.NewAccessor()), ClusterScoped: !t.namespaced},
		Serializer:                  t.types.Serializer,
		StandardSerializers:         t.types.Standard,
		ParameterCodec:              t.types.ParameterCodec,
		Creater:                     t.types.Creater,
		Convertor:                   t.types.Convertor,
		Defaulter:                   t.types.Defaulter,
		Typer:                       t.types.Typer,
		UnsafeConvertor:             t.types.UnsafeConvertor,
		Authorizer:                  m.o.Authorizer,
		EquivalentResourceMapper:    equivalents{m.o.Registry},
		TableConvertor:              t.tables,
		Resource:                    t.gvr,
		Subresource:                 t.subresource,
		Kind:                        t.gvk,
		AcceptsGroupVersionDelegate: t.accepts,
		HubGroupVersion:             t.types.Hub,
		MetaGroupVersion:            metav1.SchemeGroupVersion,
		MaxRequestBodyBytes:         maxBody,
	}
	make := t.types.FieldManager
	if make == nil {
		make = func(gvk schema.GroupVersionKind, subresource string, reset map[fieldpath.APIVersion]fieldpath.Filter) (*managedfields.FieldManager, error) {
			return managedfields.NewDefaultFieldManager(m.o.Types, s.UnsafeConvertor, s.Defaulter, s.Creater, gvk, s.HubGroupVersion, subresource, reset)
		}
	}
	manager, err := make(t.gvk, t.subresource, resetFields(t.reset))
	if err != nil {
		// The constructor only refuses arguments of the wrong shape.
		panic("field manager of " + t.gvk.String() + ": " + err.Error())
	}
	s.FieldManager = manager
	return requestScope{s, t.types.PatchTypes}
}

// resetFields are the fields that a strategy takes from nobody; they belong to
// no manager.
func resetFields(strategy any) map[fieldpath.APIVersion]fieldpath.Filter {
	switch s := strategy.(type) {
	case rest.ResetFieldsFilterStrategy:
		return s.GetResetFieldsFilter()
	case rest.ResetFieldsStrategy:
		return fieldpath.NewExcludeFilterSetMap(s.GetResetFields())
	}
	return nil
}
