package api

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/gateway/internal/storage"
)

// Options are the parts that serve requests.
type Options struct {
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

// New makes the handler of all resources.
func New(o Options) http.Handler {
	h := &handler{routes: map[route]*endpoint{}}
	m := newMaker(o)
	for _, kind := range resource.Table() {
		for _, gv := range kind.Served {
			h.routes[route{gv.WithResource(kind.GVR.Resource), ""}] = m.main(kind, gv)
			for i := range kind.Subresources {
				sub := &kind.Subresources[i]
				h.routes[route{gv.WithResource(kind.GVR.Resource), sub.Name}] = m.sub(kind, gv, sub)
			}
		}
	}
	for _, review := range resource.Reviews() {
		if creater := o.Creaters[review.GVR.GroupResource()]; creater != nil {
			h.routes[route{review.GVR, ""}] = m.review(review, creater)
		}
	}
	return h
}

type route struct {
	gvr         schema.GroupVersionResource
	subresource string
}

// endpoint is what one resource or subresource answers, by verb of the request info.
type endpoint struct {
	namespaced bool
	connect    http.Handler
	verbs      map[string]http.Handler
}

type handler struct {
	routes map[route]*endpoint
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info, ok := request.RequestInfoFrom(r.Context())
	if !ok || !info.IsResourceRequest {
		NotFound(w, r)
		return
	}
	gvr := schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource}
	e := h.routes[route{gvr, info.Subresource}]
	if e == nil || !e.matches(info) {
		NotFound(w, r)
		return
	}
	if e.connect != nil {
		e.connect.ServeHTTP(w, r)
		return
	}
	verb := e.verbs[info.Verb]
	if verb == nil || !e.allows(info) {
		notAllowed(w, r)
		return
	}
	verb.ServeHTTP(w, r)
}

// matches says whether the path is one that the resource has. A path names the
// namespace exactly where the resource has one, but for reads across all.
func (e *endpoint) matches(info *request.RequestInfo) bool {
	if len(info.Parts) > 3 && info.Subresource != "proxy" {
		return false
	}
	if e.namespaced {
		return info.Namespace != "" || info.Name == "" || collectionVerb(info.Verb)
	}
	return info.Namespace == "" || info.Resource == "namespaces"
}

// collectionVerb: a name in the request info is then of a field selector.
func collectionVerb(verb string) bool { return verb == "list" || verb == "watch" }

// allows says whether the verb works without a namespace where there could be one.
func (e *endpoint) allows(info *request.RequestInfo) bool {
	return !e.namespaced || info.Namespace != "" || collectionVerb(info.Verb)
}

// NotFound answers as upstream does for a resource it does not serve.
func NotFound(w http.ResponseWriter, r *http.Request) { generic(w, r, http.StatusNotFound) }

func notAllowed(w http.ResponseWriter, r *http.Request) { generic(w, r, http.StatusMethodNotAllowed) }

func generic(w http.ResponseWriter, r *http.Request, code int) {
	err := apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", "", 0, false)
	responsewriters.ErrorNegotiated(err, resource.Codecs, schema.GroupVersion{Version: "v1"}, w, r)
}
