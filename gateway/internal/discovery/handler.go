package discovery

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"

	"kubus.dev/gateway/internal/resource"
)

// Options are what a Handler is made of.
type Options struct {
	Registry *resource.Registry
	// Remotes gives the group versions that other servers serve.
	Remotes func() *Remotes
	// Address is where clients reach the gateway.
	Address string
	// Router answers what upstream's router does before its handlers.
	Router Router
}

// Router are upstream's answers to requests that no document is for.
type Router struct {
	NotFound, NotAllowed http.HandlerFunc
	// Refused answers a request whose media types no route takes, and says so.
	Refused func(http.ResponseWriter, *http.Request) bool
}

// Handler serves /api, /api/v1, /apis, /apis/GROUP and /apis/GROUP/VERSION, each
// with or without a slash at the end.
type Handler struct {
	o Options

	mu   sync.Mutex // held while documents are made
	made atomic.Pointer[documents]
}

// documents are those of one moment, by path.
type documents struct {
	table   *resource.Table
	remotes *Remotes
	byPath  map[string]*document
}

func (d *documents) current(table *resource.Table, remotes *Remotes) bool {
	return d != nil && d.table == table && d.remotes == remotes
}

// document is one path's answer.
type document struct {
	object runtime.Object
	// routed says that upstream's router stands before it: only GET is taken.
	routed bool
	// bare says that the answer names no apiVersion, as upstream's of release 1.1.
	bare bool
	// aggregated is what clients get that ask for it; nil: there is none.
	aggregated *aggregated
}

// New makes the handler. Its documents are made at the first request after the
// table or the remote group versions changed.
func New(o Options) *Handler { return &Handler{o: o} }

// document finds a path's answer; nil where there is none.
func (h *Handler) document(path string) *document {
	table, remotes := h.o.Registry.Load(), h.o.Remotes()
	if d := h.made.Load(); d.current(table, remotes) {
		return d.byPath[path]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	table, remotes = h.o.Registry.Load(), h.o.Remotes()
	d := h.made.Load()
	if !d.current(table, remotes) {
		d = &documents{table: table, remotes: remotes, byPath: describe(table, remotes, h.o.Address)}
		h.made.Store(d)
	}
	return d.byPath[path]
}

// describe makes all documents of a moment.
func describe(table *resource.Table, remotes *Remotes, address string) map[string]*document {
	out := map[string]*document{}
	groups := &metav1.APIGroupList{Groups: []metav1.APIGroup{}}
	var legacy, named []apidiscovery.APIGroupDiscovery
	for _, s := range order(table, remotes) {
		gv := s.gv
		var described apidiscovery.APIGroupDiscovery
		if s.remote == nil {
			list := resourcesOf(table, gv)
			out[pathOf(gv)] = &document{object: &metav1.APIResourceList{GroupVersion: gv.String(), APIResources: list}, routed: !custom(table, gv), bare: gv.Group == ""}
			own := schema.GroupVersion{}
			if custom(table, gv) {
				own = gv
			}
			described = aggregate(gv, list, own)
		} else {
			described = aggregate(gv, s.remote.Resources, schema.GroupVersion{})
			if s.remote.Ours {
				out[pathOf(gv)] = &document{object: &metav1.APIResourceList{GroupVersion: gv.String(), APIResources: s.remote.Resources}}
			}
			if s.remote.Stale {
				described.Versions[0].Freshness = apidiscovery.DiscoveryFreshnessStale
			}
		}
		if gv.Group == "" {
			legacy = append(legacy, described)
			continue
		}
		version := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		if last := len(named) - 1; last >= 0 && named[last].Name == gv.Group {
			groups.Groups[last].Versions = append(groups.Groups[last].Versions, version)
			named[last].Versions = append(named[last].Versions, described.Versions...)
			continue
		}
		groups.Groups = append(groups.Groups, metav1.APIGroup{Name: gv.Group, PreferredVersion: version, Versions: []metav1.GroupVersionForDiscovery{version}})
		named = append(named, described)
	}
	for i := range groups.Groups {
		out["/apis/"+groups.Groups[i].Name] = &document{object: groups.Groups[i].DeepCopy()}
	}
	versions := &metav1.APIVersions{Versions: []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: address}}}
	out["/api"] = &document{object: versions, routed: true, bare: true, aggregated: newAggregated(legacy)}
	out["/apis"] = &document{object: groups, aggregated: newAggregated(named)}
	return out
}

// custom says that a group version was made at run time: upstream has no router
// before what it says of one.
func custom(table *resource.Table, gv schema.GroupVersion) bool {
	kinds := table.In(gv)
	return len(kinds) > 0 && kinds[0].Custom
}

func pathOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

// ServeHTTP answers with a document, in the form that the client asks for.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := h.document(strings.TrimSuffix(r.URL.Path, "/"))
	switch {
	case d == nil:
		h.o.Router.NotFound(w, r)
		return
	case d.routed && r.Method != http.MethodGet:
		h.o.Router.NotAllowed(w, r)
		return
	case d.routed && h.o.Router.Refused(w, r):
		return
	}
	if d.aggregated != nil && r.URL.Path != "/apis/" && d.aggregated.serve(w, r) {
		return
	}
	var codecs runtime.NegotiatedSerializer = resource.Codecs
	if d.bare {
		codecs = withoutVersion{codecs}
	}
	responsewriters.WriteObjectNegotiated(codecs, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, r, http.StatusOK, d.object, false)
}

// Paths lists what is served, as upstream's / does; others are paths that are
// served beside the documents.
func (h *Handler) Paths(others ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		paths := append([]string{"/apis/"}, others...)
		h.document("/api")
		for path := range h.made.Load().byPath {
			paths = append(paths, path)
		}
		slices.Sort(paths)
		responsewriters.WriteRawJSON(http.StatusOK, metav1.RootPaths{Paths: paths}, w)
	}
}
