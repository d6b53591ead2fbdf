package discovery

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
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

// Handler serves /api, /api/v1, /apis, /apis/GROUP and /apis/GROUP/VERSION, each
// with or without a slash at the end. Other paths go to notFound.
type Handler struct {
	registry *resource.Registry
	remotes  func() *Remotes
	address  string
	notFound http.HandlerFunc

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

// document is one path's answer. aggregated is what clients get that ask for it.
type document struct {
	object     runtime.Object
	gv         schema.GroupVersion
	aggregated []byte
	etag       string
}

// New makes the handler. Its documents are made at the first request after the
// table or the remote group versions changed. address is where clients reach the
// gateway.
func New(registry *resource.Registry, remotes func() *Remotes, address string, notFound http.HandlerFunc) *Handler {
	return &Handler{registry: registry, remotes: remotes, address: address, notFound: notFound}
}

// document finds a path's answer; nil where there is none.
func (h *Handler) document(path string) *document {
	table, remotes := h.registry.Load(), h.remotes()
	if d := h.made.Load(); d.current(table, remotes) {
		return d.byPath[path]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	table, remotes = h.registry.Load(), h.remotes()
	d := h.made.Load()
	if !d.current(table, remotes) {
		d = &documents{table: table, remotes: remotes, byPath: describe(table, remotes, h.address)}
		h.made.Store(d)
	}
	return d.byPath[path]
}

// describe makes all documents of a moment.
func describe(table *resource.Table, remotes *Remotes, address string) map[string]*document {
	out := map[string]*document{}
	v1 := schema.GroupVersion{Version: "v1"}
	groups := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	var legacy, named []apidiscovery.APIGroupDiscovery
	for _, s := range order(table, remotes) {
		gv := s.gv
		var described apidiscovery.APIGroupDiscovery
		if s.remote == nil {
			list := resourcesOf(table, gv)
			out[pathOf(gv)] = &document{gv: v1, object: &metav1.APIResourceList{
				TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String(), APIResources: list,
			}}
			described = aggregate(gv, list)
		} else {
			described = aggregate(gv, s.remote.Resources)
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
		group := groups.Groups[i]
		group.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
		out["/apis/"+group.Name] = &document{gv: v1, object: &group}
	}
	versions := &metav1.APIVersions{
		TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: address}},
	}
	out["/api"] = aggregated(&document{gv: v1, object: versions}, legacy)
	out["/apis"] = aggregated(&document{gv: v1, object: groups}, named)
	return out
}

func pathOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

func aggregated(d *document, groups []apidiscovery.APIGroupDiscovery) *document {
	data, err := json.Marshal(&apidiscovery.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscovery.SchemeGroupVersion.String()}, Items: groups,
	})
	if err != nil {
		panic("discovery cannot be encoded: " + err.Error())
	}
	d.aggregated = append(data, '\n')
	d.etag = fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(data)))
	return d
}

// aggregate gives a group's part of the aggregated document.
func aggregate(gv schema.GroupVersion, list []metav1.APIResource) apidiscovery.APIGroupDiscovery {
	version := apidiscovery.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscovery.DiscoveryFreshnessCurrent}
	subs := map[string][]apidiscovery.APISubresourceDiscovery{}
	for _, r := range list {
		if name, sub, ok := strings.Cut(r.Name, "/"); ok {
			subs[name] = append(subs[name], apidiscovery.APISubresourceDiscovery{Subresource: sub, Verbs: r.Verbs,
				ResponseKind: &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}})
		}
	}
	for _, r := range list {
		if strings.Contains(r.Name, "/") {
			continue
		}
		scope := apidiscovery.ScopeCluster
		if r.Namespaced {
			scope = apidiscovery.ScopeNamespace
		}
		version.Resources = append(version.Resources, apidiscovery.APIResourceDiscovery{
			Resource: r.Name, SingularResource: r.SingularName, Scope: scope, Verbs: r.Verbs, ShortNames: r.ShortNames,
			Categories: r.Categories, ResponseKind: &metav1.GroupVersionKind{Kind: r.Kind}, Subresources: subs[r.Name],
		})
	}
	return apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: gv.Group}, Versions: []apidiscovery.APIVersionDiscovery{version}}
}

// aggregatedType is the media type of the aggregated form.
const aggregatedType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := h.document(strings.TrimSuffix(r.URL.Path, "/"))
	if d == nil {
		h.notFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "405: Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	if d.aggregated != nil {
		w.Header().Set("Vary", "Accept")
		if mediaType, ok := negotiation.NegotiateMediaTypeOptions(r.Header.Get("Accept"), resource.Codecs.SupportedMediaTypes(), restrictions{}); ok && mediaType.Convert != nil {
			d.serveAggregated(w, r)
			return
		}
	}
	responsewriters.WriteObjectNegotiated(resource.Codecs, negotiation.DefaultEndpointRestrictions, d.gv, w, r, http.StatusOK, d.object, false)
}

func (d *document) serveAggregated(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", d.etag)
	w.Header().Set("Cache-Control", "public")
	if r.Header.Get("If-None-Match") == d.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", aggregatedType)
	if r.Method != http.MethodHead {
		_, _ = w.Write(d.aggregated) // a client that left has no use for it
	}
}

// restrictions lets negotiation choose the aggregated form, in JSON only.
type restrictions struct{}

func (restrictions) AllowsMediaTypeTransform(mimeType, mimeSubType string, gvk *schema.GroupVersionKind) bool {
	if gvk == nil {
		return true
	}
	return mimeSubType == "json" && gvk.Group == "apidiscovery.k8s.io" && gvk.Version == "v2" && gvk.Kind == "APIGroupDiscoveryList"
}
func (restrictions) AllowsServerVersion(string) bool  { return false }
func (restrictions) AllowsStreamSchema(s string) bool { return s == "watch" }
