package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/storage"
)

// Options are the parts that serve requests.
type Options struct {
	Registry *resource.Registry
	// Current brings the registry up to what this gateway has acknowledged, Settle to
	// what any has: no resource is said to be unknown before. Nil does nothing.
	Current    func()
	Settle     func(ctx context.Context) error
	Storage    *storage.Set
	Admission  admission.Interface
	Authorizer authorizer.UnconditionalAuthorizer
	Types      managedfields.TypeConverter

	// Read serves get, list and watch of a kind as one of its versions.
	Read func(kind *resource.Kind, gv schema.GroupVersion) http.Handler
	// Connect serves subresources that stream, by "pods/log", for all methods.
	Connect map[string]http.Handler
	// Creaters serve reviews, by group and resource.
	Creaters map[schema.GroupResource]rest.Creater
	// NamedCreaters serve subresources that are created, by "serviceaccounts/token".
	NamedCreaters map[string]rest.NamedCreater
}

// New makes the handler of all resources. What it needs of a kind is made at the
// first request for it and forgotten when the kind leaves the table.
func New(o Options) http.Handler {
	m := newMaker(o)
	h := &handler{registry: o.Registry, missing: Missing(o.Registry), maker: m, reviews: map[schema.GroupVersionResource]*endpoint{}}
	for _, review := range resource.Reviews() {
		var answers any = o.Storage.Unstored(review.GVR.GroupResource())
		if creater := o.Creaters[review.GVR.GroupResource()]; creater != nil {
			answers = creater
		}
		if answers != nil {
			h.reviews[review.GVR] = m.review(review, answers)
		}
	}
	return h
}

// endpoint is what one resource or subresource answers, by verb of the request info.
type endpoint struct {
	namespaced bool
	// nameless says that there is nothing below the collection.
	nameless bool
	// deprecation is what clients are warned of; "" is nothing.
	deprecation string
	// custom says that there is no router before the handlers, as upstream has none
	// for custom resources.
	custom  bool
	connect http.Handler
	// connectVerbs narrow what connect takes; nil: what a proxy passes on.
	connectVerbs []string
	verbs        map[string]http.Handler
}

type handler struct {
	registry *resource.Registry
	missing  http.HandlerFunc
	maker    *maker
	kinds    resource.PerKind[map[route]*endpoint]
	reviews  map[schema.GroupVersionResource]*endpoint
}

// route is a path of a kind.
type route struct {
	gv          schema.GroupVersion
	subresource string
}

// kind finds the kind of a resource, nil where there is none. Kinds that are made at
// run time have a group with a dot.
func (h *handler) kind(ctx context.Context, gvr schema.GroupVersionResource) (*resource.Kind, error) {
	if h.maker.o.Current != nil && strings.Contains(gvr.Group, ".") {
		h.maker.o.Current()
	}
	kind := h.registry.Find(gvr)
	if kind != nil || h.maker.o.Settle == nil || !strings.Contains(gvr.Group, ".") || h.reviews[gvr] != nil {
		return kind, nil
	}
	if err := h.maker.o.Settle(ctx); err != nil {
		return nil, apierrors.NewServiceUnavailable("the state log is unavailable: the resource cannot be shown not to exist")
	}
	return h.registry.Find(gvr), nil
}

// endpoint finds what serves the resource that the request names; nil: nothing does.
func (h *handler) endpoint(ctx context.Context, info *request.RequestInfo) (*endpoint, error) {
	gv := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	gvr := gv.WithResource(info.Resource)
	kind, err := h.kind(ctx, gvr)
	if err != nil {
		return nil, err
	}
	if kind != nil {
		return h.kinds.Of(kind, func() map[route]*endpoint { return h.maker.kind(kind) })[route{gv, info.Subresource}], nil
	}
	if info.Subresource != "" {
		return nil, nil
	}
	return h.reviews[gvr], nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info, ok := request.RequestInfoFrom(r.Context())
	if !ok || !info.IsResourceRequest {
		NotFound(w, r)
		return
	}
	e, err := h.endpoint(r.Context(), info)
	if err != nil {
		responsewriters.ErrorNegotiated(err, resource.Codecs, schema.GroupVersion{Version: "v1"}, w, r)
		return
	}
	if e == nil || !e.matches(info) {
		h.missing(w, r)
		return
	}
	if e.connect != nil {
		if !e.connects(r.Method, info) {
			NotAllowed(w, r)
			return
		}
		e.connect.ServeHTTP(w, r)
		return
	}
	verb := e.verbs[info.Verb]
	if verb == nil || !e.allows(r.Method, info) {
		NotAllowed(w, r)
		return
	}
	if !e.custom {
		if code, message := mediaRefusal(r, info.Verb); code != 0 {
			generic(w, r, code, message)
			return
		}
	}
	if e.deprecation != "" {
		warning.AddWarning(r.Context(), "", e.deprecation)
	}
	verb.ServeHTTP(w, r)
}

// matches says whether the path is one that the resource has. A path names the
// namespace exactly where the resource has one, but for reads across all: what a
// request was authorized for is then what it is served from.
func (e *endpoint) matches(info *request.RequestInfo) bool {
	if len(info.Parts) > 3 && info.Subresource != "proxy" || e.nameless && info.Name != "" {
		return false
	}
	if word := special(info); word == "proxy" || word != "" && (e.connect != nil || e.verbs["watch"] == nil) {
		return false
	}
	if e.namespaced && info.Namespace == "" && e.verbs["list"] == nil && e.connect == nil {
		return false // what is only created, in a namespace
	}
	if e.namespaced {
		return info.Namespace != "" || info.Name == "" || collectionVerb(info.Verb)
	}
	// The request info puts a Namespace's own name into its namespace, for requests
	// on that Namespace only; a path with a namespace before the resource is not one.
	return info.Namespace == "" || info.Namespace == info.Name && len(segments(info)) == len(info.Parts)
}

// proxied are the methods that a proxy passes on.
var proxied = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodPatch, http.MethodOptions}

// connects says whether the method is one with which is connected, and the verb that was
// authorized one that means it.
func (e *endpoint) connects(method string, info *request.RequestInfo) bool {
	if e.connectVerbs == nil {
		return slices.Contains(proxied, method)
	}
	return slices.Contains(e.connectVerbs, info.Verb) && methods[info.Verb] == method
}

// segments gives the parts of the path that follow the version, without the word
// of a deprecated path such as /api/v1/watch/pods.
func segments(info *request.RequestInfo) []string {
	path := strings.TrimPrefix(strings.Trim(info.Path, "/"), strings.TrimSuffix(info.APIPrefix+"/"+info.APIGroup, "/")+"/"+info.APIVersion)
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if special(info) != "" {
		parts = parts[1:]
	}
	return parts
}

// special gives the word that the path has before the resource, if it has one: its
// verb is then that word, whatever the method. Upstream has kept watch alone, and a
// streaming subresource has no such path.
func special(info *request.RequestInfo) string {
	path := strings.TrimPrefix(strings.Trim(info.Path, "/"), strings.TrimSuffix(info.APIPrefix+"/"+info.APIGroup, "/")+"/"+info.APIVersion+"/")
	if first, _, _ := strings.Cut(path, "/"); first == "watch" || first == "proxy" {
		return first
	}
	return ""
}

// collectionVerb: a name in the request info is then of a field selector.
func collectionVerb(verb string) bool { return verb == "list" || verb == "watch" }

// methods are those that a verb has. The request info tells a verb by the method
// and the path together, so that it says "get" of a HEAD and "watch" of a POST
// below /watch/.
var methods = map[string]string{
	"create": http.MethodPost, "update": http.MethodPut, "patch": http.MethodPatch,
	"delete": http.MethodDelete, "deletecollection": http.MethodDelete,
	"get": http.MethodGet, "list": http.MethodGet, "watch": http.MethodGet,
}

// allows says whether the verb has this method, works without a namespace where
// there could be one, and on a name or a collection as the path has it.
func (e *endpoint) allows(method string, info *request.RequestInfo) bool {
	if methods[info.Verb] != method || e.namespaced && info.Namespace == "" && !collectionVerb(info.Verb) {
		return false
	}
	switch info.Verb {
	case "create":
		return info.Name == "" || info.Subresource != ""
	case "update", "patch":
		return info.Name != ""
	}
	return true
}

// NotAllowed answers as upstream does where a path does not take the method.
func NotAllowed(w http.ResponseWriter, r *http.Request) {
	generic(w, r, http.StatusMethodNotAllowed, "")
}

func generic(w http.ResponseWriter, r *http.Request, code int, message string) {
	err := apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", message, 0, false)
	responsewriters.ErrorNegotiated(err, resource.Codecs, schema.GroupVersion{Version: "v1"}, w, r)
}
