package api

import (
	"net/http"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
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

var patchTypes = []string{
	string(types.JSONPatchType), string(types.MergePatchType),
	string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType),
}

// maker makes endpoints.
type maker struct {
	o           Options
	equivalents runtime.EquivalentResourceRegistry
}

func newMaker(o Options) *maker {
	m := &maker{o: o, equivalents: runtime.NewEquivalentResourceRegistry()}
	for _, kind := range resource.Table() {
		for _, gv := range kind.Served {
			gvr := gv.WithResource(kind.GVR.Resource)
			m.equivalents.RegisterKindFor(gvr, "", kind.ServedKind(gv))
			for _, sub := range kind.Subresources {
				m.equivalents.RegisterKindFor(gvr, sub.Name, sub.Kind)
			}
		}
	}
	return m
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
	scope := sync.OnceValue(func() *handlers.RequestScope {
		return m.scope(target{gvr: gv.WithResource(kind.GVR.Resource), gvk: kind.ServedKind(gv), namespaced: kind.Namespaced, reset: kind.Update, tables: resource.Tables{}})
	})
	all := map[string]http.Handler{
		"create": later(func() http.HandlerFunc { return handlers.CreateResource(store, scope(), m.o.Admission) }),
		"update": later(func() http.HandlerFunc { return handlers.UpdateResource(store, scope(), m.o.Admission) }),
		"patch":  later(func() http.HandlerFunc { return handlers.PatchResource(store, scope(), m.o.Admission, patchTypes) }),
		"delete": later(func() http.HandlerFunc { return handlers.DeleteResource(store, true, scope(), m.o.Admission) }),
		"deletecollection": later(func() http.HandlerFunc {
			return handlers.DeleteCollection(store, true, scope(), m.o.Admission)
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
	return &endpoint{namespaced: kind.Namespaced, deprecation: deprecationOf(kind.ServedKind(gv)), verbs: verbs}
}

// deprecationOf is upstream's warning about a kind; "" where there is none.
func deprecationOf(gvk schema.GroupVersionKind) string {
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
		e := &endpoint{namespaced: kind.Namespaced, connect: connect}
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
	t := target{gvr: gv.WithResource(kind.GVR.Resource), subresource: sub.Name, gvk: sub.Kind, namespaced: kind.Namespaced, reset: sub.Update}
	if sub.Name == "status" || sub.Scale {
		t.tables = resource.Tables{}
	}
	if accepts, ok := store.(rest.GroupVersionAcceptor); ok {
		t.accepts = accepts
	}
	scope := sync.OnceValue(func() *handlers.RequestScope { return m.scope(t) })
	verbs := map[string]http.Handler{}
	if creater, ok := store.(rest.NamedCreater); ok {
		verbs["create"] = later(func() http.HandlerFunc { return handlers.CreateNamedResource(creater, scope(), m.o.Admission) })
	}
	if updater, ok := store.(rest.Updater); ok {
		verbs["update"] = later(func() http.HandlerFunc { return handlers.UpdateResource(updater, scope(), m.o.Admission) })
	}
	if patcher, ok := store.(rest.Patcher); ok && slices.Contains(sub.Verbs, "patch") {
		verbs["patch"] = later(func() http.HandlerFunc { return handlers.PatchResource(patcher, scope(), m.o.Admission, patchTypes) })
		verbs["get"] = later(func() http.HandlerFunc { return handlers.GetResource(patcher, scope()) })
	}
	return &endpoint{namespaced: kind.Namespaced, verbs: verbs}
}

func (m *maker) review(review resource.Review, creater rest.Creater) *endpoint {
	scope := sync.OnceValue(func() *handlers.RequestScope {
		return m.scope(target{gvr: review.GVR, gvk: review.GVK, namespaced: review.Namespaced})
	})
	return &endpoint{namespaced: review.Namespaced, nameless: true, verbs: map[string]http.Handler{
		"create": later(func() http.HandlerFunc { return handlers.CreateResource(creater, scope(), m.o.Admission) }),
	}}
}

// target is what a scope is for.
type target struct {
	gvr         schema.GroupVersionResource
	subresource string
	gvk         schema.GroupVersionKind
	namespaced  bool
	accepts     rest.GroupVersionAcceptor
	reset       any                 // a strategy that may name the fields it resets
	tables      rest.TableConvertor // nil: a Table is not acceptable, as upstream has it for what is only created
}

func (m *maker) scope(t target) *handlers.RequestScope {
	s := &handlers.RequestScope{
		Namer:                       handlers.ContextBasedNaming{Namer: runtime.Namer(meta.NewAccessor()), ClusterScoped: !t.namespaced},
		Serializer:                  resource.Codecs,
		ParameterCodec:              resource.ParameterCodec,
		Creater:                     resource.Scheme,
		Convertor:                   resource.Scheme,
		Defaulter:                   resource.Scheme,
		Typer:                       resource.Scheme,
		UnsafeConvertor:             runtime.UnsafeObjectConvertor(resource.Scheme),
		Authorizer:                  m.o.Authorizer,
		EquivalentResourceMapper:    m.equivalents,
		TableConvertor:              t.tables,
		Resource:                    t.gvr,
		Subresource:                 t.subresource,
		Kind:                        t.gvk,
		AcceptsGroupVersionDelegate: t.accepts,
		HubGroupVersion:             schema.GroupVersion{Group: t.gvk.Group, Version: runtime.APIVersionInternal},
		MetaGroupVersion:            metav1.SchemeGroupVersion,
		MaxRequestBodyBytes:         maxBody,
	}
	manager, err := managedfields.NewDefaultFieldManager(m.o.Types, s.UnsafeConvertor, s.Defaulter, s.Creater, t.gvk, s.HubGroupVersion, t.subresource, resetFields(t.reset))
	if err != nil {
		// The constructor only refuses arguments of the wrong shape.
		panic("field manager of " + t.gvk.String() + ": " + err.Error())
	}
	s.FieldManager = manager
	return s
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
