package resource_test

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/resource"
)

func TestEveryRowIsWhole(t *testing.T) {
	seen := map[schema.GroupVersionResource]bool{}
	for _, k := range resource.BuiltIn() {
		if k.New == nil || k.NewList == nil || k.Create == nil || k.Update == nil || k.Delete == nil || k.Singular == "" {
			t.Errorf("%v: a part of the row is missing", k.GVR)
		}
		if k.Namespaced != k.Create.NamespaceScoped() {
			t.Errorf("%v: namespaced is %v, its strategy says otherwise", k.GVR, k.Namespaced)
		}
		if len(k.Served) == 0 || k.Served[0] != k.GVR.GroupVersion() {
			t.Errorf("%v: the storage version must be served first, got %v", k.GVR, k.Served)
		}
		if seen[k.GVR] {
			t.Errorf("%v: twice in the table", k.GVR)
		}
		seen[k.GVR] = true
		for _, gv := range k.Served {
			if !resource.Scheme.Recognizes(k.ServedKind(gv)) || !resource.Scheme.Recognizes(k.ServedListKind(gv)) {
				t.Errorf("%v: the scheme does not know %v", k.GVR, gv)
			}
		}
	}
}

func TestEncodingIsCanonicalAndComesBack(t *testing.T) {
	for _, k := range resource.BuiltIn() {
		obj := k.New()
		accessor, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		accessor.SetName("x")
		accessor.SetResourceVersion("42")
		data, err := k.Codec.Encode(obj)
		if err != nil {
			t.Fatalf("%v: %v", k.GVR, err)
		}
		want := `{"kind":"` + k.GVK.Kind + `","apiVersion":"` + k.GVK.GroupVersion().String() + `","metadata":{"name":"x"`
		if !strings.HasPrefix(string(data), want) || strings.Contains(string(data), "resourceVersion") {
			t.Errorf("%v: got %s", k.GVR, data)
		}
		if accessor.GetResourceVersion() != "42" {
			t.Errorf("%v: encoding changed the object", k.GVR)
		}
		back, err := k.Codec.Decode(data)
		if err != nil {
			t.Fatalf("%v: %v", k.GVR, err)
		}
		if a, _ := meta.Accessor(back); a.GetName() != "x" {
			t.Errorf("%v: came back as %v", k.GVR, back)
		}
	}
}

func TestEventsAreOneCollectionUnderTwoGroups(t *testing.T) {
	table := resource.NewRegistry(resource.BuiltIn()).Load()
	a := table.Find(schema.GroupVersionResource{Version: "v1", Resource: "events"})
	b := table.Find(schema.GroupVersionResource{Group: "events.k8s.io", Version: "v1", Resource: "events"})
	if a == nil || a != b {
		t.Errorf("got %v and %v", a, b)
	}
}

func TestEveryKindHasColumns(t *testing.T) {
	for _, k := range resource.BuiltIn() {
		for _, obj := range []runtime.Object{k.New(), k.NewList()} {
			if _, err := k.Tables.ConvertToTable(t.Context(), obj, nil); err != nil {
				t.Errorf("%T: %v", obj, err)
			}
		}
	}
}

func TestFieldsThatMayBeSelected(t *testing.T) {
	for name, labels := range map[string][]string{
		"v1 ReplicationController": {"status.replicas"},
		"batch/v1 Job":             {"status.successful"},
		"certificates.k8s.io/v1 CertificateSigningRequest": {"spec.signerName"},
		"certificates.k8s.io/v1 ClusterTrustBundle":        {"spec.signerName"},
		"certificates.k8s.io/v1 PodCertificateRequest":     {"spec.signerName", "spec.podName", "spec.nodeName"},
		"resource.k8s.io/v1 ResourceSlice":                 {"spec.nodeName", "spec.driver"},
	} {
		version, word, _ := strings.Cut(name, " ")
		gv, err := schema.ParseGroupVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(resource.BuiltIn(), func(k *resource.Kind) bool { return k.ServedKind(gv) == gv.WithKind(word) })
		if at < 0 {
			t.Fatalf("%s is not built in", name)
		}
		kind := resource.BuiltIn()[at]
		_, set, err := kind.Attrs(kind.New())
		if err != nil {
			t.Fatal(err)
		}
		for _, label := range labels {
			if field, _, err := resource.Scheme.ConvertFieldLabel(gv.WithKind(word), label, "x"); err != nil || !set.Has(field) {
				t.Errorf("%s: %s selects by %s of %v, %v", name, label, field, set, err)
			}
		}
	}
}
