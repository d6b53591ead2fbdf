package gateway

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/features"
	featurestesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"kubus.dev/gateway/internal/resource"
)

// servedKind is one kind in one version, with an object of it.
type servedKind struct {
	kind *resource.Kind
	gv   schema.GroupVersion
	name string // namespace/name, as informers' stores have it
}

func (k servedKind) gvr() schema.GroupVersionResource { return k.gv.WithResource(k.kind.GVR.Resource) }

// everyKind makes an object of every kind and lists the kinds in all versions.
func everyKind(t *testing.T, g *running) []servedKind {
	t.Helper()
	must[unstructured.Unstructured](t, g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"test"}}`)
	const definition = `{"metadata":{"name":"widgets.informed.example.com"},"spec":{"group":"informed.example.com","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget"},` +
		`"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`
	must[unstructured.Unstructured](t, g, "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
	must[unstructured.Unstructured](t, g, "POST", "/apis/informed.example.com/v1/namespaces/default/widgets", `{"apiVersion":"informed.example.com/v1","kind":"Widget","metadata":{"name":"x"},"spec":1.5}`)
	var out []servedKind
	kinds := slices.Clone(resource.BuiltIn())
	limits := slices.IndexFunc(kinds, func(k *resource.Kind) bool { return k.GVK.Kind == "LimitRange" })
	last := kinds[limits] // as it would refuse the others' pods
	kinds = append(slices.Delete(kinds, limits, limits+1), last)
	for _, kind := range kinds {
		name := "x-informed-x"
		if fixed := fixedNames[kind.GVK.Kind]; fixed != "" {
			name = fixed
		}
		if kind.GVK.Kind == "CustomResourceDefinition" {
			name = "widgets.informed.example.com"
		} else {
			must[unstructured.Unstructured](t, g, "POST", collectionPath(kind, kind.Served[0]), objectOf(kind, kind.Served[0], name))
		}
		if kind.Namespaced {
			name = "default/" + name
		}
		for _, gv := range kind.Served {
			out = append(out, servedKind{kind, gv, name})
		}
	}
	widgets := schema.GroupVersionResource{Group: "informed.example.com", Version: "v1", Resource: "widgets"}
	kind := &resource.Kind{GVR: widgets, GVK: widgets.GroupVersion().WithKind("Widget"), Namespaced: true, Custom: true}
	return append(out, servedKind{kind, widgets.GroupVersion(), "default/x"})
}

// spoken counts what passes between clients and the gateway.
type spoken struct {
	next http.RoundTripper

	mu       sync.Mutex
	watches  map[string]int // by media type of the answer
	lists    int
	initials int // watches that ask for what is there
}

func (s *spoken) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(r)
	if err != nil || resp.StatusCode >= http.StatusBadRequest {
		return resp, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch query := r.URL.Query(); {
	case query.Get("watch") != "":
		s.watches[strings.Split(resp.Header.Get("Content-Type"), ";")[0]]++
		if query.Get("sendInitialEvents") == "true" {
			s.initials++
		}
	case r.Method == http.MethodGet:
		s.lists++
	}
	return resp, nil
}

// clientFor makes an informer of a kind; nil where the client knows no such kind.
type clientFor func(t *testing.T, c *rest.Config, client *http.Client, k servedKind) cache.SharedIndexInformer

// typed decodes into Go types, in a media type.
func typed(mediaType string) clientFor {
	return func(t *testing.T, c *rest.Config, client *http.Client, k servedKind) cache.SharedIndexInformer {
		if k.kind.Custom {
			return nil
		}
		config := rest.CopyConfig(c)
		gv := k.gv
		config.GroupVersion, config.APIPath = &gv, "/apis"
		if gv.Group == "" {
			config.APIPath = "/api"
		}
		config.ContentType, config.NegotiatedSerializer = mediaType, resource.Codecs.WithoutConversion()
		made, err := rest.RESTClientForConfigAndClient(config, client)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := resource.Scheme.New(k.kind.ServedKind(gv))
		if err != nil {
			t.Fatal(err)
		}
		return cache.NewSharedIndexInformer(cache.NewListWatchFromClient(made, k.kind.GVR.Resource, metav1.NamespaceAll, fields.Everything()), obj, 0, cache.Indexers{})
	}
}

func asUnstructured(t *testing.T, c *rest.Config, client *http.Client, k servedKind) cache.SharedIndexInformer {
	made, err := dynamic.NewForConfigAndClient(c, client)
	if err != nil {
		t.Fatal(err)
	}
	return dynamicinformer.NewDynamicSharedInformerFactory(made, 0).ForResource(k.gvr()).Informer()
}

func asMetadata(t *testing.T, c *rest.Config, client *http.Client, k servedKind) cache.SharedIndexInformer {
	made, err := metadata.NewForConfigAndClient(c, client)
	if err != nil {
		t.Fatal(err)
	}
	return metadatainformer.NewSharedInformerFactory(made, 0).ForResource(k.gvr()).Informer()
}

// Informers of client-go's typed, dynamic and metadata clients know every kind in every
// version, and hear of changes: in JSON, in protobuf, asking for CBOR as far as the server
// has it, by a list and a watch, and by a watch that begins with what is there.
func TestEveryKindByEveryClient(t *testing.T) {
	g := start(t)
	all := everyKind(t, g)
	for name, c := range map[string]struct {
		informer  clientFor
		cbor      bool
		mediaType string // of watches of built-in kinds
		custom    string // of those of custom ones
	}{
		"typed, JSON":     {typed("application/json"), false, "application/json", ""},
		"typed, protobuf": {typed(protobuf), false, protobuf, ""},
		"dynamic":         {asUnstructured, false, "application/json", "application/json"},
		"dynamic, CBOR":   {asUnstructured, true, "application/json", "application/json"},
		"metadata":        {asMetadata, false, protobuf, protobuf},
	} {
		for _, watchList := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, watch list %t", name, watchList), func(t *testing.T) {
				featurestesting.SetFeatureDuringTest(t, features.WatchListClient, watchList)
				featurestesting.SetFeatureDuringTest(t, features.ClientsAllowCBOR, c.cbor)
				featurestesting.SetFeatureDuringTest(t, features.ClientsPreferCBOR, c.cbor)
				counted := &spoken{next: g.http.Transport, watches: map[string]int{}}
				client := &http.Client{Transport: counted}
				config := &rest.Config{Host: g.url, QPS: -1}
				informers := map[servedKind]cache.SharedIndexInformer{}
				ctx, cancel := context.WithCancel(t.Context())
				var wait sync.WaitGroup
				t.Cleanup(func() { cancel(); wait.Wait() })
				want := map[string]int{}
				for _, k := range all {
					informer := c.informer(t, config, client, k)
					if informer == nil {
						continue
					}
					informers[k] = informer
					wait.Go(func() { informer.RunWithContext(ctx) })
					if k.kind.Custom {
						want[c.custom]++
					} else {
						want[c.mediaType]++
					}
				}
				versions := map[servedKind]string{}
				for k, informer := range informers {
					versions[k] = informed(t, k, informer, "")
				}
				for k := range informers {
					if k.gv == k.kind.GVR.GroupVersion() {
						relabelled(t, g, k, strings.ReplaceAll(strings.ReplaceAll(t.Name()[len("TestEveryKindByEveryClient/"):], ",", ""), "_", "-"))
					}
				}
				for k, informer := range informers {
					informed(t, k, informer, versions[k])
				}
				counted.mu.Lock()
				defer counted.mu.Unlock()
				for mediaType, n := range want {
					if counted.watches[mediaType] < n {
						t.Errorf("%d watches in %s, want %d: %v", counted.watches[mediaType], mediaType, n, counted.watches)
					}
				}
				if watchList && (counted.initials < len(informers) || counted.lists > 0) || !watchList && counted.initials > 0 {
					t.Errorf("%d watches of what is there and %d lists by %d informers", counted.initials, counted.lists, len(informers))
				}
			})
		}
	}
}

// informed waits until an informer has the object in another version than before.
func informed(t *testing.T, k servedKind, informer cache.SharedIndexInformer, before string) (version string) {
	t.Helper()
	eventually(t, fmt.Sprintf("an informer of %s has %s behind version %q", k.gvr(), k.name, before), func() bool {
		obj, exists, err := informer.GetStore().GetByKey(k.name)
		if err != nil {
			t.Fatal(err)
		}
		if !exists {
			return false
		}
		accessor, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		if accessor.GetUID() == "" {
			t.Fatalf("%s: got %+v", k.gvr(), obj)
		}
		version = accessor.GetResourceVersion()
		return version != before
	})
	return version
}

// relabelled changes the object of a kind.
func relabelled(t *testing.T, g *running, k servedKind, value string) {
	t.Helper()
	namespace, name, _ := strings.Cut(k.name, "/")
	path := "/apis/" + k.gv.String() + "/"
	if k.gv.Group == "" {
		path = "/api/v1/"
	}
	if k.kind.Namespaced {
		path += "namespaces/" + namespace + "/"
	} else {
		name = namespace
	}
	must[unstructured.Unstructured](t, g, "PATCH", path+k.kind.GVR.Resource+"/"+name, fmt.Sprintf(`{"metadata":{"annotations":{"seen":%q}}}`, value), string(types.MergePatchType))
}

// eventually waits for a condition, for as long as a starved machine may need.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come to be that %s", what)
		}
	}
}

// The discovery client lists every kind, by the aggregated documents and by those of
// each version, and finds the one that it calls preferred.
func TestTheDiscoveryClientFindsEveryKind(t *testing.T) {
	g := start(t)
	all := everyKind(t, g)
	for name, legacy := range map[string]bool{"aggregated": false, "one version at a time": true} {
		t.Run(name, func(t *testing.T) {
			client, err := discovery.NewDiscoveryClientForConfigAndClient(&rest.Config{Host: g.url, QPS: -1}, g.http)
			if err != nil {
				t.Fatal(err)
			}
			client.UseLegacyDiscovery = legacy
			var have map[schema.GroupVersionResource]metav1.APIResource
			eventually(t, "discovery has the custom kind", func() bool {
				_, lists, err := client.ServerGroupsAndResources()
				if err != nil && !discovery.IsGroupDiscoveryFailedError(err) { // metrics.k8s.io is not there alone
					t.Fatal(err)
				}
				have = map[schema.GroupVersionResource]metav1.APIResource{}
				for _, list := range lists {
					gv, err := schema.ParseGroupVersion(list.GroupVersion)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range list.APIResources {
						have[gv.WithResource(r.Name)] = r
					}
				}
				_, ok := have[all[len(all)-1].gvr()]
				return ok
			})
			for _, k := range all {
				r, ok := have[k.gvr()]
				if !ok || r.Kind != k.kind.GVK.Kind || r.Namespaced != k.kind.Namespaced || len(r.Verbs) == 0 {
					t.Errorf("%s: got %+v, %t", k.gvr(), r, ok)
				}
			}
			for gvr, r := range have {
				if strings.Contains(r.Name, "/") {
					if _, ok := have[gvr.GroupVersion().WithResource(strings.Split(r.Name, "/")[0])]; !ok {
						t.Errorf("%s has no main resource", gvr)
					}
				}
			}
		})
	}
}
