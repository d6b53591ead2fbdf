package gateway

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"kubus.dev/gateway/internal/resource"
	kubus "kubus.dev/proto"
	"kubus.dev/proto/apiclient"
)

const (
	widgetsV2 = "/apis/shop.example.com/v2/namespaces/default/widgets"
	sizeV1    = `{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"},"color":{"type":"string","default":"red"}}}}}`
	sizeV2    = `{"type":"object","properties":{"spec":{"type":"object","properties":{"measures":{"type":"object","properties":{"size":{"type":"integer"}}},"color":{"type":"string"}}}}}`
)

func TestVersionsWithoutAConverterDifferInTheirNameOnly(t *testing.T) {
	g := start(t)
	crd := g.defined(t, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, sizeV1), version("v2", false, sizeV1, `"deprecated":true`)))
	made := must[object](t, g, "POST", widgets, widget("one", `{"size":1}`))
	got := must[object](t, g, "GET", widgetsV2+"/one", nil)
	if got.GetAPIVersion() != "shop.example.com/v2" || field(t, got, "spec", "size") != int64(1) || got.GetResourceVersion() != made.GetResourceVersion() {
		t.Errorf("got %v", got.Object)
	}
	must[object](t, g, "PATCH", widgetsV2+"/one?fieldManager=two&force=true", strings.Replace(widget("one", `{"color":"blue"}`), "/v1", "/v2", 1), applyPatch)
	if got = must[object](t, g, "GET", widgets+"/one", nil); field(t, got, "spec", "color") != "blue" || got.GetAPIVersion() != "shop.example.com/v1" {
		t.Errorf("got %v", got.Object)
	}
	// The other version becomes the stored one: what is written then is stored so, and
	// what was written before is still read.
	must[object](t, g, "POST", widgets, widget("two", `{"size":2}`))
	crd = must[apiextensionsv1.CustomResourceDefinition](t, g, "GET", crds+"/"+crd.Name, nil)
	crd.Spec.Versions[0].Storage, crd.Spec.Versions[1].Storage = false, true
	crd = must[apiextensionsv1.CustomResourceDefinition](t, g, "PUT", crds+"/"+crd.Name, crd)
	if fmt.Sprint(crd.Status.StoredVersions) != "[v1 v2]" {
		t.Errorf("got %v", crd.Status.StoredVersions)
	}
	settled(t, func() error {
		must[object](t, g, "PUT", widgetsV2+"/two", must[object](t, g, "GET", widgetsV2+"/two", nil).Object)
		var resources metav1.APIResourceList
		if err := json.Unmarshal(get(t, g, apiclient.Request{Path: "/apis/shop.example.com/v1"}), &resources); err != nil {
			return err
		}
		if resources.APIResources[0].StorageVersionHash != storageHash(t, g) {
			return fmt.Errorf("the storage version is still v1")
		}
		return nil
	})
	list := must[unstructured.UnstructuredList](t, g, "GET", widgetsV2, nil)
	for _, item := range list.Items {
		if item.GetAPIVersion() != "shop.example.com/v2" {
			t.Errorf("got %v", item.Object)
		}
	}
	// A version that objects are stored in cannot be taken out.
	without := crd.DeepCopy()
	without.Spec.Versions = crd.Spec.Versions[1:]
	g.fails(t, metav1.StatusReasonInvalid, `status.storedVersions[0]: Invalid value: "v1": missing from spec.versions`, "PUT", crds+"/"+crd.Name, without)
	// What a StorageVersionMigration does to each object: a patch that changes nothing
	// but the form it is stored in, and that only once.
	stored := func(name string) string {
		gr := kubus.GroupResource{Group: "shop.example.com", Resource: "widgets"}
		var of metav1.TypeMeta
		if err := json.Unmarshal(g.state.View(gr).Get(gr, "default", name).Data(), &of); err != nil {
			t.Fatal(err)
		}
		return of.APIVersion
	}
	migrate := func() (before, after *object) {
		before = must[object](t, g, "GET", widgetsV2+"/one", nil)
		patch := fmt.Sprintf(`{"apiVersion":"shop.example.com/v2","kind":"Widget","metadata":{"namespace":"default","name":"one","uid":%q,"resourceVersion":%q}}`, before.GetUID(), before.GetResourceVersion())
		return before, must[object](t, g, "PATCH", widgetsV2+"/one", patch, mergePatch)
	}
	if got := stored("one"); got != "shop.example.com/v1" {
		t.Errorf("before its migration it is stored as %s", got)
	}
	if before, after := migrate(); stored("one") != "shop.example.com/v2" || after.GetResourceVersion() == before.GetResourceVersion() || after.GetGeneration() != before.GetGeneration() {
		t.Errorf("migrated it is stored as %s, %s at generation %d after %s at %d", stored("one"), after.GetResourceVersion(), after.GetGeneration(), before.GetResourceVersion(), before.GetGeneration())
	}
	if before, after := migrate(); after.GetResourceVersion() != before.GetResourceVersion() {
		t.Errorf("a second migration wrote it again")
	}
	crd = must[apiextensionsv1.CustomResourceDefinition](t, g, "PATCH", crds+"/"+crd.Name+"/status", `{"status":{"storedVersions":["v2"]}}`, mergePatch)
	crd.Spec.Versions = crd.Spec.Versions[1:]
	must[apiextensionsv1.CustomResourceDefinition](t, g, "PUT", crds+"/"+crd.Name, crd)
}

// storageHash is what discovery says of the other version: both have one storage.
func storageHash(t *testing.T, g *running) string {
	t.Helper()
	var v2 metav1.APIResourceList
	if err := json.Unmarshal(get(t, g, apiclient.Request{Path: "/apis/shop.example.com/v2"}), &v2); err != nil {
		t.Fatal(err)
	}
	return v2.APIResources[0].StorageVersionHash
}

// converter is a conversion webhook between sizeV1 and sizeV2.
type converter struct {
	*httptest.Server
	calls, objects atomic.Int64
	broken         atomic.Bool
}

func startConverter(t *testing.T) *converter {
	c := &converter{}
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review apiextensionsv1.ConversionReview
		data, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(data, &review)
		}
		if err != nil {
			t.Error(err)
			return
		}
		c.calls.Add(1)
		review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
		if c.broken.Load() {
			review.Response.Result = metav1.Status{Status: metav1.StatusFailure, Message: "out of order"}
		}
		for _, o := range review.Request.Objects {
			c.objects.Add(1)
			u := &object{}
			if err := u.UnmarshalJSON(o.Raw); err != nil {
				t.Error(err)
			}
			convert(u, review.Request.DesiredAPIVersion)
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: u})
		}
		review.Request = nil
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func convert(u *object, to string) {
	from, into := []string{"spec", "size"}, []string{"spec", "measures", "size"}
	if strings.HasSuffix(to, "/v1") {
		from, into = into, from
	}
	if size, found, _ := unstructured.NestedInt64(u.Object, from...); found {
		unstructured.RemoveNestedField(u.Object, from...)
		_ = unstructured.SetNestedField(u.Object, size, into...)
	}
	u.SetAPIVersion(to)
}

func (c *converter) definition() string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})
	conversion := fmt.Sprintf(`"conversion":{"strategy":"Webhook","webhook":{"conversionReviewVersions":["v1"],"clientConfig":{"url":%q,"caBundle":%q}}},`, c.URL+"/convert", base64.StdEncoding.EncodeToString(ca))
	return strings.Replace(definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, sizeV1), version("v2", false, sizeV2)), `"spec":{`, `"spec":{`+conversion, 1)
}

func TestVersionsAreConvertedByAWebhook(t *testing.T) {
	g, c := start(t), startConverter(t)
	g.defined(t, c.definition())
	must[object](t, g, "POST", widgets, widget("one", `{"size":1}`))
	if c.calls.Load() != 0 {
		t.Errorf("the stored version was converted %d times", c.calls.Load())
	}
	got := must[object](t, g, "GET", widgetsV2+"/one", nil)
	if field(t, got, "spec", "measures", "size") != int64(1) || field(t, got, "spec", "size") != nil {
		t.Errorf("got %v", got.Object)
	}
	must[object](t, g, "POST", widgetsV2, `{"apiVersion":"shop.example.com/v2","kind":"Widget","metadata":{"name":"two"},"spec":{"measures":{"size":2}}}`)
	if got = must[object](t, g, "GET", widgets+"/two", nil); field(t, got, "spec", "size") != int64(2) {
		t.Errorf("got %v", got.Object)
	}
	must[object](t, g, "PATCH", widgetsV2+"/one", `{"spec":{"measures":{"size":7}}}`, mergePatch)
	if got = must[object](t, g, "GET", widgets+"/one", nil); field(t, got, "spec", "size") != int64(7) {
		t.Errorf("got %v", got.Object)
	}

	t.Run("a list is one call", func(t *testing.T) {
		for i := range 40 {
			must[object](t, g, "POST", widgets, widget(fmt.Sprintf("many-%d", i), `{"size":3}`))
		}
		for _, accept := range []string{"application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"} {
			before := c.calls.Load()
			data := get(t, g, apiclient.Request{Path: widgetsV2, Accept: accept})
			if calls := c.calls.Load() - before; calls != 1 || !strings.Contains(string(data), "many-39") {
				t.Errorf("%s: %d calls for %s", accept, calls, data[:200])
			}
		}
		before := c.calls.Load()
		get(t, g, apiclient.Request{Path: widgetsV2})
		if calls := c.calls.Load() - before; calls != 0 {
			t.Errorf("what was converted is converted again: %d calls", calls)
		}
	})
	t.Run("a webhook that fails is told of", func(t *testing.T) {
		c.broken.Store(true)
		defer c.broken.Store(false)
		must[object](t, g, "POST", widgets, widget("unseen", `{"size":4}`))
		g.fails(t, metav1.StatusReasonInternalError, "conversion webhook for shop.example.com/v1, Kind=Widget failed: out of order", "GET", widgetsV2+"/unseen", nil)
		if _, err := g.do(t, "GET", widgetsV2, nil); apierrors.ReasonForError(err) != metav1.StatusReasonInternalError {
			t.Errorf("a list: %v", err)
		}
	})
	t.Run("watchers get their version", func(t *testing.T) {
		list := must[unstructured.UnstructuredList](t, g, "GET", widgetsV2, nil)
		must[object](t, g, "POST", widgets, widget("watched", `{"size":9}`))
		done := fmt.Errorf("seen")
		err := g.admin.Watch(t.Context(), widgetsV2, url.Values{"resourceVersion": {list.GetResourceVersion()}, "timeoutSeconds": {"20"}}, func(event string, data []byte) error {
			u := &object{}
			if err := json.Unmarshal(data, u); err != nil {
				return err
			}
			if event == string(watch.Added) && field(t, u, "spec", "measures", "size") == int64(9) {
				return done
			}
			return fmt.Errorf("got %s %s", event, data)
		})
		if err != done { //nolint:errorlint // the very value
			t.Error(err)
		}
	})
}

func TestCustomKindsAreInDiscovery(t *testing.T) {
	g := start(t)
	g.defined(t, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1beta1", false, anySchema), version("v1", true, widgetSchema, widgetMore), version("v2alpha1", false, anySchema)))
	group := must[metav1.APIGroup](t, g, "GET", "/apis/shop.example.com", nil)
	var versions []string
	for _, v := range group.Versions {
		versions = append(versions, v.Version)
	}
	if fmt.Sprint(versions) != "[v1 v1beta1 v2alpha1]" || group.PreferredVersion.Version != "v1" {
		t.Errorf("got %+v", group)
	}
	list := must[metav1.APIResourceList](t, g, "GET", "/apis/shop.example.com/v1", nil)
	var names []string
	for _, r := range list.APIResources {
		names = append(names, r.Name+" "+r.Kind+" "+fmt.Sprint(r.Verbs))
	}
	want := "widgets Widget [delete deletecollection get list patch create update watch]\nwidgets/scale Scale [get patch update]\nwidgets/status Widget [get patch update]"
	if strings.Join(names, "\n") != want {
		t.Errorf("got %s", strings.Join(names, "\n"))
	}
	for _, group := range g.aggregated(t).Items {
		if group.Name == "shop.example.com" {
			if len(group.Versions) != 3 || len(group.Versions[0].Resources[0].Subresources) != 2 {
				t.Errorf("got %+v", group)
			}
			return
		}
	}
	t.Error("the aggregated document lacks it")
}

// plain asks for a document as an HTTP client does.
func (g *running) plain(t testing.TB, path, accept string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", g.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := g.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v %s", path, resp.StatusCode, err, data)
	}
	return resp, data
}

func TestCustomKindsAreInOpenAPI(t *testing.T) {
	g := start(t)
	index := func() string {
		var out struct {
			Paths map[string]struct{ ServerRelativeURL string }
		}
		_, data := g.plain(t, "/openapi/v3", "application/json")
		if err := json.Unmarshal(data, &out); err != nil {
			t.Fatal(err)
		}
		return out.Paths["apis/shop.example.com/v1"].ServerRelativeURL
	}
	if index() != "" {
		t.Errorf("got %s", index())
	}
	crd := g.defined(t, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, widgetSchema, widgetMore)))
	first := index()
	resp, data := g.plain(t, first, "application/json")
	if resp.Header.Get("Cache-Control") != "public, immutable" {
		t.Errorf("%s: got %v", first, resp.Header)
	}
	var v3 struct {
		Paths      map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(data, &v3); err != nil {
		t.Fatal(err)
	}
	if v3.Components.Schemas["com.example.shop.v1.Widget"] == nil || v3.Components.Schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"] == nil || v3.Paths["/apis/shop.example.com/v1/namespaces/{namespace}/widgets/{name}/status"] == nil {
		t.Errorf("got %s", data)
	}
	// A second kind of the version is in the same document, under another URL.
	g.defined(t, definition("shop.example.com", "gadgets", "Gadget", "Cluster", version("v1", true, anySchema)))
	second := index()
	if _, data := g.plain(t, second, "application/json"); second == first || !strings.Contains(string(data), "com.example.shop.v1.Gadget") || !strings.Contains(string(data), "com.example.shop.v1.Widget") {
		t.Errorf("got %s after %s: %s", second, first, data)
	}
	_, data = g.plain(t, "/openapi/v2", "application/json")
	var v2 struct {
		Paths, Definitions, Parameters map[string]json.RawMessage
	}
	if err := json.Unmarshal(data, &v2); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"com.example.shop.v1.Widget", "com.example.shop.v1.GadgetList", "io.k8s.api.core.v1.Pod"} {
		if v2.Definitions[name] == nil {
			t.Errorf("v2 lacks %s", name)
		}
	}
	for _, ref := range strings.SplitAfter(string(data), `"$ref":"#/`)[1:] {
		section, name, _ := strings.Cut(ref[:strings.IndexByte(ref, '"')], "/")
		if section == "definitions" && v2.Definitions[name] == nil || section == "parameters" && v2.Parameters[name] == nil {
			t.Errorf("v2 refers to %s %s, which it lacks", section, name)
		}
	}
	_, data = g.plain(t, "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	var doc openapiv2.Document
	if err := proto.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(doc.String(), "com.example.shop.v1.Widget") {
		t.Error("v2 as protobuf lacks the kind")
	}
	must[apiextensionsv1.CustomResourceDefinition](t, g, "DELETE", crds+"/"+crd.Name, nil)
	g.gone(t, crds, crd.Name)
	settled(t, func() error {
		if _, data := g.plain(t, "/openapi/v2", "application/json"); strings.Contains(string(data), "com.example.shop.v1.Widget") {
			return fmt.Errorf("v2 still has the kind")
		}
		return nil
	})
}

func TestADefinitionAsProtobufAndTable(t *testing.T) {
	g := start(t)
	crd := g.defined(t, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, widgetSchema, widgetMore)))
	const protobuf = "application/vnd.kubernetes.protobuf"
	data := get(t, g, apiclient.Request{Path: crds + "/" + crd.Name, Accept: protobuf})
	decoded, err := runtime.Decode(resource.Codecs.UniversalDeserializer(), data)
	if err != nil {
		t.Fatal(err)
	}
	put := get(t, g, apiclient.Request{Method: "PUT", Path: crds + "/" + crd.Name, Body: data, ContentType: protobuf})
	var same apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal(put, &same); err != nil || same.ResourceVersion != crd.ResourceVersion {
		t.Errorf("written back as protobuf (%T) it changed from %s to %s: %v", decoded, crd.ResourceVersion, same.ResourceVersion, err)
	}
	var table metav1.Table
	if err := json.Unmarshal(get(t, g, apiclient.Request{Path: crds, Accept: "application/json;as=Table;v=v1;g=meta.k8s.io"}), &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 1 || table.Rows[0].Cells[0] != crd.Name || table.Rows[0].Cells[2] != "v1(storage)" {
		t.Errorf("got %+v", table.Rows)
	}
}
