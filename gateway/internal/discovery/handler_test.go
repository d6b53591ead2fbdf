package discovery_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/discovery"
	"kubus.dev/gateway/internal/resource"
)

func handler() *discovery.Handler {
	code := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	return discovery.New(discovery.Options{
		Registry: resource.NewRegistry(resource.BuiltIn()), Remotes: func() *discovery.Remotes { return nil }, Address: "192.0.2.1:6443",
		Router: discovery.Router{NotFound: code(http.StatusNotFound), NotAllowed: code(http.StatusMethodNotAllowed),
			Refused: func(w http.ResponseWriter, r *http.Request) bool {
				refused := r.Header.Get("Accept") == "text/html"
				if refused {
					w.WriteHeader(http.StatusNotAcceptable)
				}
				return refused
			}},
	})
}

func ask(h http.Handler, method, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	asAggregated = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	protobuf     = "application/vnd.kubernetes.protobuf"
)

func TestADocumentIsAnsweredInTheFormThatIsAskedFor(t *testing.T) {
	t.Parallel()
	h := handler()
	for name, c := range map[string]struct {
		method, path, accept string
		code                 int
		contentType, begins  string
	}{
		"the versions of the core group name no apiVersion":  {"GET", "/api", "", 200, "application/json", `{"kind":"APIVersions","versions":`},
		"nor do its resources":                               {"GET", "/api/v1/", "", 200, "application/json", `{"kind":"APIResourceList","groupVersion":"v1"`},
		"in YAML as well":                                    {"GET", "/api", "application/yaml", 200, "application/yaml", "kind: APIVersions\n"},
		"the groups do":                                      {"GET", "/apis", "", 200, "application/json", `{"kind":"APIGroupList","apiVersion":"v1"`},
		"and the resources of one":                           {"GET", "/apis/apps/v1", "", 200, "application/json", `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"apps/v1"`},
		"the aggregated form":                                {"GET", "/apis", "application/json" + asAggregated + ",application/json", 200, "application/json" + asAggregated, `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2"`},
		"the aggregated form in YAML":                        {"GET", "/api", "application/yaml" + asAggregated, 200, "application/yaml" + asAggregated, "apiVersion: apidiscovery.k8s.io/v2\n"},
		"the aggregated form in protobuf":                    {"GET", "/api", protobuf + asAggregated, 200, protobuf + asAggregated, "k8s\x00"},
		"its version that is no more":                        {"GET", "/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", 406, "application/json", "{\n  \"kind\": \"Status\""},
		"a list has no aggregated form at its other address": {"GET", "/apis/", "application/json" + asAggregated + ",application/json", 200, "application/json", `{"kind":"APIGroupList"`},
		"protobuf":                 {"GET", "/apis/apps", protobuf, 200, protobuf, "k8s\x00"},
		"a form that nobody makes": {"GET", "/api/v1", "text/html", 406, "", ""},
		"another method, where there is no router": {"POST", "/apis", "", 200, "application/json", `{"kind":"APIGroupList"`},
		"of one group":                      {"PUT", "/apis/apps/", "", 200, "application/json", `{"kind":"APIGroup"`},
		"another method, behind the router": {"POST", "/apis/apps/v1", "", 405, "", ""},
		"not even HEAD":                     {"HEAD", "/api", "", 405, "", ""},
		"a group that is not there":         {"GET", "/apis/none", "", 404, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := ask(h, c.method, c.path, c.accept)
			if w.Code != c.code || w.Header().Get("Content-Type") != c.contentType || !strings.HasPrefix(w.Body.String(), c.begins) {
				t.Errorf("got %d %s %.90q, want %d %s %q", w.Code, w.Header().Get("Content-Type"), w.Body, c.code, c.contentType, c.begins)
			}
		})
	}
}

func TestTheAggregatedFormIsCachedByItsTag(t *testing.T) {
	t.Parallel()
	h := handler()
	w := ask(h, "GET", "/apis", "application/json"+asAggregated)
	tag := w.Header().Get("ETag")
	if tag == "" || w.Header().Get("Vary") != "Accept" || w.Header().Get("Cache-Control") != "public" {
		t.Fatalf("got %v", w.Header())
	}
	r := httptest.NewRequest("GET", "/apis", nil)
	r.Header.Set("Accept", "application/json"+asAggregated)
	r.Header.Set("If-None-Match", tag)
	again := httptest.NewRecorder()
	h.ServeHTTP(again, r)
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("got %d with %d bytes, want 304", again.Code, again.Body.Len())
	}
	if plain := ask(h, "GET", "/apis", ""); plain.Header().Get("Vary") != "" || plain.Header().Get("ETag") != "" {
		t.Errorf("the plain form has %v", plain.Header())
	}
}

func TestACustomKindIsToldWithItsGroupABuiltInOneWithout(t *testing.T) {
	t.Parallel()
	gv := schema.GroupVersion{Group: "example.com", Version: "v1"}
	registry := resource.NewRegistry(resource.BuiltIn())
	registry.Set("test", []*resource.Kind{{
		GVR: gv.WithResource("widgets"), GVK: gv.WithKind("Widget"), Singular: "widget", Custom: true, Served: []schema.GroupVersion{gv},
		Subresources: []resource.Subresource{
			{Name: "status", Kind: gv.WithKind("Widget"), Verbs: []string{"get"}},
			{Name: "scale", Kind: schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"}, Verbs: []string{"get"}},
		},
	}})
	h := discovery.New(discovery.Options{Registry: registry, Remotes: func() *discovery.Remotes { return nil }})
	var list apidiscovery.APIGroupDiscoveryList
	if err := json.Unmarshal(ask(h, "GET", "/apis", "application/json"+asAggregated).Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	got := map[string]metav1.GroupVersionKind{}
	for _, group := range list.Items {
		for _, r := range group.Versions[0].Resources {
			got[r.Resource+"."+group.Name] = *r.ResponseKind
			for _, sub := range r.Subresources {
				got[r.Resource+"."+group.Name+"/"+sub.Subresource] = *sub.ResponseKind
			}
		}
	}
	for name, want := range map[string]metav1.GroupVersionKind{
		"widgets.example.com":        {Group: "example.com", Version: "v1", Kind: "Widget"},
		"widgets.example.com/status": {Group: "example.com", Version: "v1", Kind: "Widget"},
		"widgets.example.com/scale":  {Group: "autoscaling", Version: "v1", Kind: "Scale"},
		"deployments.apps":           {Kind: "Deployment"},
		"deployments.apps/status":    {Kind: "Deployment"},
		"deployments.apps/scale":     {Group: "autoscaling", Version: "v1", Kind: "Scale"},
	} {
		if got[name] != want {
			t.Errorf("%s: got %+v, want %+v", name, got[name], want)
		}
	}
}

func TestTheRootListsWhatIsServed(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	handler().Paths("/version")(w, httptest.NewRequest("GET", "/", nil))
	var got struct{ Paths []string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api", "/api/v1", "/apis", "/apis/", "/apis/apps", "/apis/apps/v1", "/version"} {
		if !slices.Contains(got.Paths, path) {
			t.Errorf("%s is not among %v", path, got.Paths)
		}
	}
	if !slices.IsSorted(got.Paths) {
		t.Errorf("not sorted: %v", got.Paths)
	}
}
