package api

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/gateway/internal/resource"
)

var coreV1 = schema.GroupVersion{Version: "v1"}

// answering is an endpoint that takes every verb.
func answering(kind *resource.Kind, connects bool) *endpoint {
	e := &endpoint{namespaced: kind.Namespaced, verbs: map[string]http.Handler{}}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	for verb := range methods {
		e.verbs[verb] = ok
	}
	if connects {
		e.connect = ok
	}
	return e
}

// answer is the code of a request that only its path and method decide on; 0 is
// that it was let through.
func answer(t *testing.T, e *endpoint, method, path string) (int, *request.RequestInfo) {
	t.Helper()
	resolver := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	r := httptest.NewRequest(method, path, nil)
	info, err := resolver.NewRequestInfo(r)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case !e.matches(info):
		return http.StatusNotFound, info
	case e.connect == nil && !e.allows(method, info), e.connect != nil && !e.connects(method, info):
		return http.StatusMethodNotAllowed, info
	}
	return 0, info
}

// A RoleBinding in a namespace gives rights in that namespace. A path that is
// authorized in one must not be served from all.
func TestAClusterScopedKindHasNoNamespaceInItsPath(t *testing.T) {
	t.Parallel()
	for _, kind := range resource.BuiltIn() {
		if kind.Namespaced {
			continue
		}
		prefix := "/apis/" + kind.GVR.Group + "/" + kind.GVR.Version
		if kind.GVR.Group == "" {
			prefix = "/api/v1"
		}
		subs := []string{""}
		for _, sub := range kind.Subresources {
			subs = append(subs, "/"+sub.Name)
		}
		e := answering(kind, false)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			for _, middle := range []string{"/namespaces/mine/", "/watch/namespaces/mine/"} {
				for _, name := range []string{"", "/victim", "/mine"} {
					for _, sub := range subs {
						if sub != "" && name == "" {
							continue
						}
						path := prefix + middle + kind.GVR.Resource + name + sub
						if code, _ := answer(t, e, method, path); code != http.StatusNotFound {
							t.Errorf("%s %s: got %d, want 404", method, path, code)
						}
					}
				}
			}
		}
		for _, path := range []string{"/x", "/x/status", ""} {
			path = prefix + "/" + kind.GVR.Resource + path
			if code, _ := answer(t, e, "GET", path); code != 0 {
				t.Errorf("GET %s: got %d, want it served", path, code)
			}
		}
	}
}

func TestANamespacesOwnPaths(t *testing.T) {
	t.Parallel()
	table := resource.NewRegistry(resource.BuiltIn()).Load()
	namespaces := answering(table.In(coreV1)[slices.IndexFunc(table.In(coreV1), func(k *resource.Kind) bool { return k.GVR.Resource == "namespaces" })], false)
	for path, want := range map[string]int{
		"/api/v1/namespaces":                           0,
		"/api/v1/namespaces/a":                         0,
		"/api/v1/namespaces/a/":                        0,
		"/api/v1/namespaces/namespaces":                0,
		"/api/v1/namespaces/a/status":                  0,
		"/api/v1/namespaces/a/finalize":                0,
		"/api/v1/watch/namespaces/a":                   0,
		"/api/v1/watch/namespaces":                     0,
		"/api/v1/namespaces/a/namespaces":              http.StatusNotFound,
		"/api/v1/namespaces/a/namespaces/a":            http.StatusNotFound,
		"/api/v1/namespaces/a/namespaces/b":            http.StatusNotFound,
		"/api/v1/namespaces/a/namespaces/a/status":     http.StatusNotFound,
		"/api/v1/watch/namespaces/a/namespaces":        http.StatusNotFound,
		"/api/v1/watch/namespaces/a/namespaces/a":      http.StatusNotFound,
		"/api/v1/namespaces/namespaces/namespaces/a":   http.StatusNotFound,
		"/api/v1/namespaces/a/namespaces/a/finalize":   http.StatusNotFound,
		"/api/v1/namespaces/status/namespaces/status":  http.StatusNotFound,
		"/api/v1/namespaces/a/namespaces/status/extra": http.StatusNotFound,
	} {
		if code, info := answer(t, namespaces, "GET", path); code != want {
			t.Errorf("GET %s: got %d, want %d (namespace %q, name %q)", path, code, want, info.Namespace, info.Name)
		}
	}
}

// A kind that is only asked or listed has no path for watches, whatever the method.
func TestWhatCannotBeWatchedHasNoPathOfAWatch(t *testing.T) {
	t.Parallel()
	pods := resource.NewRegistry(resource.BuiltIn()).Find(coreV1.WithResource("pods"))
	e := answering(pods, false)
	delete(e.verbs, "watch")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
		for _, path := range []string{"/api/v1/watch/pods", "/api/v1/watch/namespaces/x/pods", "/api/v1/watch/namespaces/x/pods/p", "/api/v1/watch/namespaces/x/pods/p/status"} {
			if code, _ := answer(t, e, method, path); code != http.StatusNotFound {
				t.Errorf("%s %s: got %d, want 404", method, path, code)
			}
		}
	}
}

// What a deprecated path calls "watch" is authorized as that, whatever the method
// does: a subresource that passes requests on has no such path.
func TestAStreamHasNoPathThatIsAuthorizedAsAnotherVerb(t *testing.T) {
	t.Parallel()
	for _, kind := range resource.BuiltIn() {
		if !kind.Namespaced || kind.Subresource("proxy") == nil {
			continue
		}
		e := answering(kind, true)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			path := "/api/v1/watch/namespaces/x/" + kind.GVR.Resource + "/p/proxy/a/b"
			if code, info := answer(t, e, method, path); code != http.StatusNotFound {
				t.Errorf("%s %s: got %d as %q, want 404", method, path, code, info.Verb)
			}
			if code, _ := answer(t, e, method, strings.Replace(path, "/watch", "", 1)); code != 0 {
				t.Errorf("%s: the plain path got %d", method, code)
			}
		}
	}
}

// Upstream took the paths with proxy and redirect before the resource away in 1.10.
func TestNothingIsServedBelowTheWordProxy(t *testing.T) {
	t.Parallel()
	for _, kind := range resource.BuiltIn() {
		if kind.GVR.GroupVersion() != coreV1 {
			continue
		}
		path := "/api/v1/proxy/" + kind.GVR.Resource + "/x"
		if kind.Namespaced {
			path = "/api/v1/proxy/namespaces/ns/" + kind.GVR.Resource + "/x"
		}
		for _, method := range []string{"GET", "POST"} {
			if code, _ := answer(t, answering(kind, false), method, path); code != http.StatusNotFound {
				t.Errorf("%s %s: got %d, want 404", method, path, code)
			}
		}
	}
}

// What is served is what the request was authorized as: the namespace, name and
// subresource of its path, and a verb that means its method. So for every kind, each
// subresource, each method, and each word that may stand before.
func TestWhatIsServedIsWhatWasAuthorized(t *testing.T) {
	t.Parallel()
	for _, kind := range resource.BuiltIn() {
		prefix := "/apis/" + kind.GVR.Group + "/" + kind.GVR.Version
		if kind.GVR.Group == "" {
			prefix = "/api/v1"
		}
		e := answering(kind, false)
		subs := []string{""}
		for _, sub := range kind.Subresources {
			subs = append(subs, sub.Name)
		}
		for _, word := range []string{"", "/watch", "/proxy"} {
			for _, namespace := range []string{"", "mine", "namespaces", kind.GVR.Resource} {
				for _, name := range []string{"", "x", "mine", "namespaces", kind.GVR.Resource} {
					for _, sub := range subs {
						if sub != "" && name == "" {
							continue
						}
						path := prefix + word
						if namespace != "" {
							path += "/namespaces/" + namespace
						}
						path += "/" + kind.GVR.Resource
						if name != "" {
							path += "/" + name
						}
						if sub != "" {
							path += "/" + sub
						}
						for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"} {
							code, info := answer(t, e, method, path)
							if code != 0 {
								continue
							}
							served := namespace
							if kind.GVR.Resource == "namespaces" { // a Namespace is in itself, where it is named
								served = name
							}
							if info.Resource != kind.GVR.Resource || info.Namespace != served || info.Name != name || info.Subresource != sub {
								t.Errorf("%s %s is authorized as %s %q/%q %q", method, path, info.Resource, info.Namespace, info.Name, info.Subresource)
							}
							if methods[info.Verb] != method {
								t.Errorf("%s %s is authorized as %s", method, path, info.Verb)
							}
							if word == "/proxy" || word == "/watch" && method != "GET" {
								t.Errorf("%s %s is served", method, path)
							}
						}
					}
				}
			}
		}
	}
}

// Who connects has been authorized with a verb that means the method: no other method
// reaches a stream, and none a proxy as a verb of another one.
func TestEachConnectTakesTheMethodsOfItsVerbs(t *testing.T) {
	t.Parallel()
	every := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PROPFIND"}
	found := 0
	for _, kind := range resource.BuiltIn() {
		for _, sub := range kind.Subresources {
			want, connects := map[string][]string{
				"pods/exec": {"GET", "POST"}, "pods/attach": {"GET", "POST"}, "pods/portforward": {"GET", "POST"}, "pods/log": {"GET"},
				"pods/proxy": every[:7], "services/proxy": every[:7], "nodes/proxy": every[:7],
			}[kind.GVR.Resource+"/"+sub.Name]
			if !connects || kind.GVR.Group != "" {
				continue
			}
			found++
			e := answering(kind, true)
			if sub.Name != "proxy" {
				e.connectVerbs = sub.Verbs
			}
			path := "/api/v1/" + kind.GVR.Resource + "/x/" + sub.Name
			if kind.Namespaced {
				path = "/api/v1/namespaces/ns/" + kind.GVR.Resource + "/x/" + sub.Name
			}
			for _, method := range every {
				code, info := answer(t, e, method, path)
				if (code == 0) != slices.Contains(want, method) {
					t.Errorf("%s %s: got %d", method, path, code)
				}
				means := methods[info.Verb]
				if method == "HEAD" && means == "GET" || method == "OPTIONS" && info.Verb == "" {
					means = method // as upstream authorizes them
				}
				if code == 0 && means != method {
					t.Errorf("%s %s is authorized as %q", method, path, info.Verb)
				}
				if code, info := answer(t, e, method, strings.Replace(path, "/api/v1", "/api/v1/watch", 1)); code != http.StatusNotFound {
					t.Errorf("%s below the word watch: got %d as %q", method, code, info.Verb)
				}
			}
			if sub.Name != "proxy" { // a verb that is authorized otherwise, and one that means another method
				for verb, method := range map[string]string{"update": "PUT", "delete": "DELETE", "list": "GET", "watch": "GET", "create": "GET", "get": "POST"} {
					if e.connects(method, &request.RequestInfo{Verb: verb}) {
						t.Errorf("%s %s is served as %s", method, path, verb)
					}
				}
			}
		}
	}
	if found != 7 {
		t.Errorf("found %d kinds of connects", found)
	}
}
