package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bustest"
)

const (
	crds       = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	mergePatch = "application/merge-patch+json"
	jsonPatch  = "application/json-patch+json"
	applyPatch = "application/apply-patch+yaml"
)

type object = unstructured.Unstructured

// definition is the YAML-free form of a CustomResourceDefinition: a group, its plural
// and kind, and versions as JSON.
func definition(group, plural, kind, scope string, versions ...string) string {
	return fmt.Sprintf(`{"metadata":{"name":"%s.%s"},"spec":{"group":%q,"scope":%q,"names":{"plural":%q,"kind":%q},"versions":[%s]}}`,
		plural, group, group, scope, plural, kind, strings.Join(versions, ","))
}

// version is one of a definition; more are fields beside the schema.
func version(name string, storage bool, schema string, more ...string) string {
	return fmt.Sprintf(`{"name":%q,"served":true,"storage":%t,"schema":{"openAPIV3Schema":%s}%s}`, name, storage, schema, strings.Join(append([]string{""}, more...), ","))
}

const anySchema = `{"type":"object","x-kubernetes-preserve-unknown-fields":true}`

// defined makes a definition and waits until it is established.
func (g *running) defined(t testing.TB, definition string) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	made := must[apiextensionsv1.CustomResourceDefinition](t, g, "POST", crds, definition)
	return g.until(t, made.Name, func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return condition(crd, apiextensionsv1.Established) == "True"
	})
}

func condition(crd *apiextensionsv1.CustomResourceDefinition, which apiextensionsv1.CustomResourceDefinitionConditionType) string {
	for _, c := range crd.Status.Conditions {
		if c.Type == which {
			return string(c.Status)
		}
	}
	return ""
}

// until waits for a state of a definition.
func (g *running) until(t testing.TB, name string, is func(*apiextensionsv1.CustomResourceDefinition) bool) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var found *apiextensionsv1.CustomResourceDefinition
	err := apiclient.ListWatch[apiextensionsv1.CustomResourceDefinition](ctx, g.admin, crds, url.Values{"fieldSelector": {"metadata.name=" + name}},
		func(_, crd *apiextensionsv1.CustomResourceDefinition) {
			if crd != nil && is(crd) {
				found = crd
				cancel()
			}
		}, nil)
	if found == nil {
		last, _ := g.do(t, "GET", crds+"/"+name, nil)
		t.Fatalf("waiting for %s: %v; it is %s", name, err, last)
	}
	return found
}

// gone waits until there is nothing at a path.
func (g *running) gone(t testing.TB, collection, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	seen := false
	_ = apiclient.ListWatch[object](ctx, g.admin, collection, url.Values{"fieldSelector": {"metadata.name=" + name}}, func(old, new *object) {
		if old != nil && new == nil {
			seen = true
			cancel()
		}
	}, func() {
		if _, err := g.do(t, "GET", collection+"/"+name, nil); apierrors.IsNotFound(err) {
			seen = true
			cancel()
		}
	})
	if !seen {
		t.Fatalf("%s/%s is still there", collection, name)
	}
}

// widgetSchema has defaults, a rule, a bound and a pruned rest.
const widgetSchema = `{"type":"object","properties":{
	"spec":{"type":"object","x-kubernetes-validations":[{"rule":"!has(self.min) || self.min <= self.size","message":"min is above size"}],"properties":{
		"size":{"type":"integer","default":3,"maximum":10},"min":{"type":"integer"},"color":{"type":"string","enum":["red","blue"]},
		"replicas":{"type":"integer"},"note":{"type":"string","nullable":true},
		"parts":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],"items":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"count":{"type":"integer","default":1}}}}}},
	"status":{"type":"object","properties":{"replicas":{"type":"integer"},"selector":{"type":"string"},"phase":{"type":"string"}}}}}`

const widgetMore = `"subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas","labelSelectorPath":".status.selector"}},
	"additionalPrinterColumns":[{"name":"Size","type":"integer","jsonPath":".spec.size"},{"name":"Color","type":"string","jsonPath":".spec.color"}],
	"selectableFields":[{"jsonPath":".spec.color"}]`

const widgets = "/apis/shop.example.com/v1/namespaces/default/widgets"

func widget(name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"shop.example.com/v1","kind":"Widget","metadata":{"name":%q},"spec":%s}`, name, spec)
}

func field(t testing.TB, u *object, path ...string) any {
	t.Helper()
	v, _, err := unstructured.NestedFieldNoCopy(u.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestACustomResourceBehavesAsUpstream(t *testing.T) {
	g := start(t)
	crd := g.defined(t, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, widgetSchema, widgetMore)))
	if names := crd.Status.AcceptedNames; names.Singular != "widget" || names.ListKind != "WidgetList" || !slices.Equal(crd.Status.StoredVersions, []string{"v1"}) {
		t.Errorf("got %+v", crd.Status)
	}
	for name, test := range map[string]func(t *testing.T){
		"it is defaulted and pruned when it is written": func(t *testing.T) {
			made := must[object](t, g, "POST", widgets, widget("written", `{"color":"red","unknown":1,"parts":[{"name":"a"}]}`))
			if field(t, made, "spec", "size") != int64(3) || field(t, made, "spec", "unknown") != nil || made.GetGeneration() != 1 || made.GetUID() == "" {
				t.Errorf("got %v", made.Object)
			}
			again := must[object](t, g, "GET", widgets+"/written", nil)
			if fmt.Sprint(again.Object) != fmt.Sprint(made.Object) {
				t.Errorf("read %v, wrote %v", again.Object, made.Object)
			}
			list := must[unstructured.UnstructuredList](t, g, "GET", widgets, nil)
			if list.GetKind() != "WidgetList" || len(list.Items) == 0 || list.Items[0].GetKind() != "Widget" {
				t.Errorf("got %v", list)
			}
		},
		"every patch but a strategic one": func(t *testing.T) {
			must[object](t, g, "POST", widgets, widget("patched", `{"color":"red"}`))
			must[object](t, g, "PATCH", widgets+"/patched", `{"spec":{"color":"blue"}}`, mergePatch)
			must[object](t, g, "PATCH", widgets+"/patched", `[{"op":"replace","path":"/spec/size","value":7}]`, jsonPatch)
			got := must[object](t, g, "PATCH", widgets+"/patched?fieldManager=me", widget("patched", `{"parts":[{"name":"a","count":2}]}`), applyPatch)
			if field(t, got, "spec", "color") != "blue" || field(t, got, "spec", "size") != int64(7) || got.GetGeneration() != 4 {
				t.Errorf("got %v", got.Object)
			}
			other := must[object](t, g, "PATCH", widgets+"/patched?fieldManager=you", widget("patched", `{"parts":[{"name":"b"}]}`), applyPatch)
			if parts, _ := field(t, other, "spec", "parts").([]any); len(parts) != 2 {
				t.Errorf("got %v", other.Object)
			}
			g.fails(t, metav1.StatusReasonConflict, `conflict with "me"`, "PATCH", widgets+"/patched?fieldManager=you", widget("patched", `{"parts":[{"name":"a","count":5}]}`), applyPatch)
			must[object](t, g, "PATCH", widgets+"/new?fieldManager=me", widget("new", `{"color":"red"}`), applyPatch)
			_, err := g.do(t, "PATCH", widgets+"/patched", `{"spec":{"size":1}}`, "application/strategic-merge-patch+json")
			if code := apierrors.ReasonForError(err); code != metav1.StatusReasonUnsupportedMediaType {
				t.Errorf("a strategic merge patch: %v", err)
			}
		},
		"an invalid one is refused in upstream's words": func(t *testing.T) {
			g.fails(t, metav1.StatusReasonInvalid, `Widget.shop.example.com "bad" is invalid: spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10`, "POST", widgets, widget("bad", `{"size":11}`))
			g.fails(t, metav1.StatusReasonInvalid, `spec.color: Unsupported value: "green": supported values: "red", "blue"`, "POST", widgets, widget("bad", `{"color":"green"}`))
			g.fails(t, metav1.StatusReasonInvalid, `spec: Invalid value: min is above size`, "POST", widgets, widget("bad", `{"min":4}`))
			g.fails(t, metav1.StatusReasonInvalid, `spec.parts[1]: Duplicate value: {"name":"a"}`, "POST", widgets, widget("bad", `{"parts":[{"name":"a"},{"name":"a"}]}`))
			g.fails(t, metav1.StatusReasonBadRequest, `strict decoding error: unknown field "spec.other"`, "POST", widgets+"?fieldValidation=Strict", widget("bad", `{"other":1}`))
			g.fails(t, metav1.StatusReasonBadRequest, "does not match the expected API version", "POST", widgets, strings.Replace(widget("bad", `{}`), "/v1", "/v2", 1))
		},
		"an old version is a conflict, no version is invalid": func(t *testing.T) {
			made := must[object](t, g, "POST", widgets, widget("versions", `{}`))
			must[object](t, g, "PATCH", widgets+"/versions", `{"spec":{"size":4}}`, mergePatch)
			g.fails(t, metav1.StatusReasonConflict, "the object has been modified", "PUT", widgets+"/versions", made.Object)
			g.fails(t, metav1.StatusReasonInvalid, "metadata.resourceVersion: Invalid value: 0: must be specified for an update", "PUT", widgets+"/versions", widget("versions", `{}`))
		},
		"status has a path of its own": func(t *testing.T) {
			made := must[object](t, g, "POST", widgets, strings.Replace(widget("status", `{"size":2}`), `"spec"`, `"status":{"phase":"set"},"spec"`, 1))
			if field(t, made, "status") != nil {
				t.Errorf("created with status %v", made.Object)
			}
			got := must[object](t, g, "PATCH", widgets+"/status/status", `{"spec":{"size":9},"status":{"phase":"Ready"}}`, mergePatch)
			if field(t, got, "status", "phase") != "Ready" || field(t, got, "spec", "size") != int64(2) || got.GetGeneration() != 1 {
				t.Errorf("got %v", got.Object)
			}
			got = must[object](t, g, "PATCH", widgets+"/status", `{"spec":{"size":5},"status":{"phase":"Lost"}}`, mergePatch)
			if field(t, got, "status", "phase") != "Ready" || got.GetGeneration() != 2 {
				t.Errorf("got %v", got.Object)
			}
		},
		"it scales by the paths of its definition": func(t *testing.T) {
			must[object](t, g, "POST", widgets, widget("scaled", `{"replicas":2}`))
			must[object](t, g, "PATCH", widgets+"/scaled/status", `{"status":{"replicas":1,"selector":"a=b"}}`, mergePatch)
			scale := must[autoscalingv1.Scale](t, g, "GET", widgets+"/scaled/scale", nil)
			if scale.Kind != "Scale" || scale.APIVersion != "autoscaling/v1" || scale.Spec.Replicas != 2 || scale.Status.Replicas != 1 || scale.Status.Selector != "a=b" {
				t.Errorf("got %+v", scale)
			}
			scale.Spec.Replicas = 5
			if put := must[autoscalingv1.Scale](t, g, "PUT", widgets+"/scaled/scale", scale); put.Spec.Replicas != 5 {
				t.Errorf("got %+v", put)
			}
			must[autoscalingv1.Scale](t, g, "PATCH", widgets+"/scaled/scale", `{"spec":{"replicas":6}}`, mergePatch)
			got := must[object](t, g, "GET", widgets+"/scaled", nil)
			if field(t, got, "spec", "replicas") != int64(6) {
				t.Errorf("got %v", got.Object)
			}
			must[object](t, g, "POST", widgets, widget("unscaled", `{}`))
			g.fails(t, metav1.StatusReasonInternalError, `the spec replicas field ".spec.replicas" does not exist`, "GET", widgets+"/unscaled/scale", nil)
		},
		"its columns are those of the definition": func(t *testing.T) {
			must[object](t, g, "POST", widgets, widget("columns", `{"size":8,"color":"blue"}`))
			table := &metav1.Table{}
			data := get(t, g, apiclient.Request{Path: widgets + "/columns", Accept: "application/json;as=Table;v=v1;g=meta.k8s.io"})
			if err := json.Unmarshal(data, table); err != nil {
				t.Fatal(err)
			}
			if len(table.ColumnDefinitions) != 3 || table.ColumnDefinitions[1].Name != "Size" || fmt.Sprint(table.Rows[0].Cells) != "[columns 8 blue]" {
				t.Errorf("got %s", data)
			}
		},
		"fields that the definition names can be selected by": func(t *testing.T) {
			const other = "/apis/shop.example.com/v1/namespaces/kube-system/widgets"
			for name, color := range map[string]string{"one": "red", "two": "blue", "three": "red"} {
				must[object](t, g, "POST", other, widget(name, fmt.Sprintf(`{"color":%q}`, color)))
			}
			list := must[unstructured.UnstructuredList](t, g, "GET", other+"?fieldSelector=spec.color%3Dred", nil)
			if len(list.Items) != 2 {
				t.Errorf("got %d", len(list.Items))
			}
			g.fails(t, metav1.StatusReasonBadRequest, "field label not supported: spec.size", "GET", other+"?fieldSelector=spec.size%3D3", nil)
			must[metav1.Status](t, g, "DELETE", other+"?fieldSelector=spec.color%3Dred", nil)
			if list = must[unstructured.UnstructuredList](t, g, "GET", other, nil); len(list.Items) != 1 || list.Items[0].GetName() != "two" {
				t.Errorf("left %v", list.Items)
			}
		},
		"other forms than JSON": func(t *testing.T) {
			must[object](t, g, "POST", widgets, "apiVersion: shop.example.com/v1\nkind: Widget\nmetadata:\n  name: yaml\nspec:\n  size: 4\n", "application/yaml")
			if data := get(t, g, apiclient.Request{Path: widgets + "/yaml", Accept: "application/yaml"}); !strings.Contains(string(data), "  size: 4\n") {
				t.Errorf("got %s", data)
			}
			if _, err := g.admin.Do(t.Context(), apiclient.Request{Path: widgets, Accept: "application/vnd.kubernetes.protobuf"}); apierrors.ReasonForError(err) != metav1.StatusReasonNotAcceptable {
				t.Errorf("a list as protobuf: %v", err)
			}
			if data := get(t, g, apiclient.Request{Path: widgets, Accept: "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}); !strings.Contains(string(data), "PartialObjectMetadataList") {
				t.Errorf("got %s", data)
			}
		},
		"a dry run writes nothing": func(t *testing.T) {
			must[object](t, g, "POST", widgets+"?dryRun=All", widget("dry", `{}`))
			g.fails(t, metav1.StatusReasonNotFound, `widgets.shop.example.com "dry" not found`, "GET", widgets+"/dry", nil)
		},
	} {
		t.Run(name, test)
	}
}

func TestARuleThatIsAddedLaterLeavesWhatWasThere(t *testing.T) {
	g := start(t)
	schema := `{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"},"name":{"type":"string"}}}}}`
	crd := g.defined(t, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, schema)))
	must[object](t, g, "POST", widgets, widget("old", `{"size":50}`))
	stricter := strings.Replace(schema, `"size":{"type":"integer"}`, `"size":{"type":"integer","maximum":10},"added":{"type":"string","default":"later"}`, 1)
	if err := json.Unmarshal([]byte(stricter), crd.Spec.Versions[0].Schema.OpenAPIV3Schema); err != nil {
		t.Fatal(err)
	}
	must[apiextensionsv1.CustomResourceDefinition](t, g, "PUT", crds+"/"+crd.Name, crd)
	// The very next request meets the new schema.
	g.fails(t, metav1.StatusReasonInvalid, "should be less than or equal to 10", "POST", widgets, widget("new", `{"size":50}`))
	got := must[object](t, g, "GET", widgets+"/old", nil)
	if field(t, got, "spec", "added") != "later" || field(t, got, "spec", "size") != int64(50) {
		t.Errorf("a default is not shown of what was stored before it: %v", got.Object)
	}
	must[object](t, g, "PATCH", widgets+"/old", `{"spec":{"name":"kept"}}`, mergePatch)
	g.fails(t, metav1.StatusReasonInvalid, "should be less than or equal to 10", "PATCH", widgets+"/old", `{"spec":{"size":51}}`, mergePatch)
}

func TestDefinitionsOfOneGroupDoNotShareNames(t *testing.T) {
	g := start(t)
	first := strings.Replace(definition("zoo.example.com", "cats", "Cat", "Cluster", version("v1", true, anySchema)), `"kind":"Cat"`, `"kind":"Cat","shortNames":["c"]`, 1)
	g.defined(t, first)
	must[apiextensionsv1.CustomResourceDefinition](t, g, "POST", crds, strings.Replace(definition("zoo.example.com", "cows", "Cow", "Cluster", version("v1", true, anySchema)), `"kind":"Cow"`, `"kind":"Cow","shortNames":["c"]`, 1))
	refused := g.until(t, "cows.zoo.example.com", func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return condition(crd, apiextensionsv1.NamesAccepted) == "False"
	})
	if condition(refused, apiextensionsv1.Established) != "False" {
		t.Errorf("got %+v", refused.Status)
	}
	g.fails(t, metav1.StatusReasonNotFound, "the server could not find the requested resource", "GET", "/apis/zoo.example.com/v1/cows", nil)
	must[apiextensionsv1.CustomResourceDefinition](t, g, "DELETE", crds+"/cats.zoo.example.com", nil)
	g.until(t, "cows.zoo.example.com", func(crd *apiextensionsv1.CustomResourceDefinition) bool {
		return condition(crd, apiextensionsv1.Established) == "True"
	})
	must[unstructured.UnstructuredList](t, g, "GET", "/apis/zoo.example.com/v1/cows", nil)
}

func TestAKindMayHaveTheNameOfABuiltInOne(t *testing.T) {
	g := start(t)
	g.defined(t, definition("film.example.com", "roles", "Role", "Namespaced", version("v1", true, anySchema)))
	made := must[object](t, g, "POST", "/apis/film.example.com/v1/namespaces/default/roles", `{"apiVersion":"film.example.com/v1","kind":"Role","metadata":{"name":"hero"},"rules":"none"}`)
	if field(t, made, "rules") != "none" {
		t.Errorf("got %v", made.Object)
	}
	if list := must[unstructured.UnstructuredList](t, g, "GET", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", nil); len(list.Items) != 0 {
		t.Errorf("it is among the built-in ones: %v", list.Items)
	}
}

func TestADefinitionIsRefusedAsUpstreamRefusesIt(t *testing.T) {
	g := start(t)
	g.fails(t, metav1.StatusReasonInvalid, `spec.validation.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object fields`, "POST", crds,
		definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, `{"type":"object","properties":{"spec":{"properties":{"a":{"type":"string"}}}}}`)))
	g.fails(t, metav1.StatusReasonInvalid, `spec.versions: Invalid value`, "POST", crds, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", false, anySchema)))
	g.fails(t, metav1.StatusReasonInvalid, `metadata.name: Invalid value: "other.shop.example.com": must be spec.names.plural+"."+spec.group`, "POST", crds,
		strings.Replace(definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, anySchema)), `"name":"widgets.`, `"name":"other.`, 1))
	g.fails(t, metav1.StatusReasonInvalid, "protected groups must have approval annotation", "POST", crds, definition("x.k8s.io", "widgets", "Widget", "Namespaced", version("v1", true, anySchema)))
	g.fails(t, metav1.StatusReasonInvalid, "compilation failed", "POST", crds,
		definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, `{"type":"object","x-kubernetes-validations":[{"rule":"self.nothing > 1"}]}`)))
}

func TestInstancesGoWithTheirDefinition(t *testing.T) {
	g := start(t)
	g.defined(t, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, anySchema)))
	for _, name := range []string{"a", "b"} {
		must[object](t, g, "POST", widgets, widget(name, `{}`))
	}
	must[object](t, g, "POST", widgets, strings.Replace(widget("held", `{}`), `"name":"held"`, `"name":"held","finalizers":["example.com/hold"]`, 1))
	deleted := must[apiextensionsv1.CustomResourceDefinition](t, g, "DELETE", crds+"/widgets.shop.example.com", nil)
	if condition(deleted, apiextensionsv1.Terminating) != "True" || !slices.Contains(deleted.Finalizers, "customresourcecleanup.apiextensions.k8s.io") {
		t.Errorf("got %+v", deleted)
	}
	g.gone(t, widgets, "a")
	g.gone(t, widgets, "b")
	g.fails(t, metav1.StatusReasonForbidden, "create not allowed while custom resource definition is terminating", "POST", widgets, widget("new", `{}`))
	g.fails(t, metav1.StatusReasonForbidden, "create not allowed while custom resource definition is terminating", "PATCH", widgets+"/new?fieldManager=me", widget("new", `{}`), applyPatch)
	must[object](t, g, "PATCH", widgets+"/held", `{"spec":{"still":"writable"}}`, mergePatch)
	must[object](t, g, "PATCH", widgets+"/held", `{"metadata":{"finalizers":null}}`, mergePatch)
	g.gone(t, crds, "widgets.shop.example.com")
	settled(t, func() error {
		_, err := g.do(t, "GET", widgets, nil)
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("the collection answers %v", err)
		}
		return nil
	})
	// Made anew, it is empty.
	g.defined(t, definition("shop.example.com", "widgets", "Widget", "Namespaced", version("v1", true, anySchema)))
	if list := must[unstructured.UnstructuredList](t, g, "GET", widgets, nil); len(list.Items) != 0 {
		t.Errorf("got %v", list.Items)
	}
}

func TestADefinitionIsServedByEveryGatewayOnceItIsEstablished(t *testing.T) {
	server := bustest.Server(t)
	one, two := startOver(t, server), startOver(t, server)
	for i := range 10 {
		plural, group := fmt.Sprintf("things%d", i), "many.example.com"
		one.defined(t, definition(group, plural, fmt.Sprintf("Thing%d", i), "Cluster", version("v1", true, anySchema)))
		path := "/apis/" + group + "/v1/" + plural
		must[object](t, two, "POST", path, fmt.Sprintf(`{"apiVersion":"many.example.com/v1","kind":"Thing%d","metadata":{"name":"x"}}`, i))
		must[object](t, one, "GET", path+"/x", nil)
	}
	must[metav1.Status](t, two, "DELETE", crds, nil)
	for i := range 10 {
		one.gone(t, crds, fmt.Sprintf("things%d.many.example.com", i))
	}
}

// patience is how long a test waits for what comes in its own time: for ever, but that a
// broken one ends. A starved machine may need most of it.
const patience = 2 * time.Minute

// settled waits until a check has nothing to say.
func settled(t testing.TB, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		t.Fatal(last)
	}
}
