package discovery

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// aggregated is the document of all groups in one. The common form is kept encoded.
type aggregated struct {
	list    *apidiscovery.APIGroupDiscoveryList
	encoded []byte
	etag    string
}

func newAggregated(groups []apidiscovery.APIGroupDiscovery) *aggregated {
	a := &aggregated{list: &apidiscovery.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: apidiscovery.SchemeGroupVersion.String()}, Items: groups,
	}}
	data, err := json.Marshal(a.list)
	if err != nil {
		panic("discovery cannot be encoded: " + err.Error())
	}
	a.encoded = append(data, '\n')
	a.etag = fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(data)))
	return a
}

// aggregate gives a group's part of the aggregated document. A kind of the group itself
// is told without group and version where own is the zero value, as upstream tells of
// built-in ones, and with own's otherwise.
func aggregate(gv schema.GroupVersion, list []metav1.APIResource, own schema.GroupVersion) apidiscovery.APIGroupDiscovery {
	version := apidiscovery.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscovery.DiscoveryFreshnessCurrent}
	responseKind := func(r *metav1.APIResource) *metav1.GroupVersionKind {
		if r.Group == "" && r.Version == "" {
			return &metav1.GroupVersionKind{Group: own.Group, Version: own.Version, Kind: r.Kind}
		}
		return &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
	}
	subs := map[string][]apidiscovery.APISubresourceDiscovery{}
	for i := range list {
		r := &list[i]
		if name, sub, ok := strings.Cut(r.Name, "/"); ok {
			subs[name] = append(subs[name], apidiscovery.APISubresourceDiscovery{Subresource: sub, Verbs: r.Verbs, ResponseKind: responseKind(r)})
		}
	}
	for i := range list {
		r := &list[i]
		if strings.Contains(r.Name, "/") {
			continue
		}
		scope := apidiscovery.ScopeCluster
		if r.Namespaced {
			scope = apidiscovery.ScopeNamespace
		}
		version.Resources = append(version.Resources, apidiscovery.APIResourceDiscovery{
			Resource: r.Name, SingularResource: r.SingularName, Scope: scope, Verbs: r.Verbs, ShortNames: r.ShortNames,
			Categories: r.Categories, ResponseKind: responseKind(r), Subresources: subs[r.Name],
		})
	}
	return apidiscovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: gv.Group}, Versions: []apidiscovery.APIVersionDiscovery{version}}
}

// aggregatedCodecs encode the aggregated form.
var aggregatedCodecs = func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	if err := apidiscovery.AddToScheme(scheme); err != nil {
		panic("the types of discovery do not fit a scheme: " + err.Error())
	}
	return serializer.NewCodecFactory(scheme)
}()

// aggregatedJSON is the media type of the common form.
const aggregatedJSON = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// serve answers a request that asks for the aggregated form, and says whether it did.
func (a *aggregated) serve(w http.ResponseWriter, r *http.Request) bool {
	options, ok := negotiation.NegotiateMediaTypeOptions(r.Header.Get("Accept"), aggregatedCodecs.SupportedMediaTypes(), restrictions{})
	if !ok || options.Convert == nil {
		return false
	}
	h := w.Header()
	h.Set("ETag", a.etag)
	h.Set("Vary", "Accept")
	h.Set("Cache-Control", "public")
	if r.Header.Get("If-None-Match") == a.etag {
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	if options.Accepted.MediaType == runtime.ContentTypeJSON && !options.Pretty && !strings.Contains(r.URL.RawQuery, "pretty") && !browses(r) {
		h.Set("Content-Type", aggregatedJSON)
		_, _ = w.Write(a.encoded) // a client that left has no use for it
		return true
	}
	responsewriters.WriteObjectNegotiated(aggregatedCodecs, restrictions{}, apidiscovery.SchemeGroupVersion, w, r, http.StatusOK, a.list, true)
	return true
}

// browses says that a person reads the answer, who gets it indented as upstream's.
func browses(r *http.Request) bool {
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// restrictions let negotiation choose the aggregated form only.
type restrictions struct{}

func (restrictions) AllowsMediaTypeTransform(_, _ string, gvk *schema.GroupVersionKind) bool {
	return gvk != nil && gvk.Group == apidiscovery.GroupName && gvk.Version == "v2" && gvk.Kind == "APIGroupDiscoveryList"
}
func (restrictions) AllowsServerVersion(string) bool  { return false }
func (restrictions) AllowsStreamSchema(s string) bool { return s == "watch" }
