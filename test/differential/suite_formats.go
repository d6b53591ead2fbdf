package differential

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const (
	yamlType     = "application/yaml"
	protobufType = "application/vnd.kubernetes.protobuf"
	cborType     = "application/cbor"
)

// accepted are the forms that a client can ask for.
var accepted = []string{
	"", "*/*", "application/*", "application/json", yamlType, protobufType, cborType, "application/json;pretty=1", "text/html", "application/xml, */*;q=0.1",
	"application/vnd.kubernetes.protobuf;q=0.5, application/json;q=0.9", "application/json;as=Table;v=v1;g=meta.k8s.io",
	"application/json;as=Table;v=v1beta1;g=meta.k8s.io", "application/json;as=Table;v=v9;g=meta.k8s.io", "application/json;as=Table;v=v9;g=meta.k8s.io, application/json",
	"application/yaml;as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
	"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
	"application/yaml;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
	"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;as=Nothing;v=v1;g=meta.k8s.io",
	"application/json;stream=watch", "application/json;charset=utf-8", "APPLICATION/JSON", "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io", "garbage", ";;",
}

// formats asks for everything in every form and sends in every form.
func formats(s *story) {
	a := s.base
	s.send("create", "POST", s.collection(), s.labelled(a, map[string]any{"form": "yes"}))
	for _, accept := range accepted {
		header := map[string]string{"Accept": accept}
		s.add(Step{Name: "get as " + accept, Method: "GET", Path: s.path(a), Header: header})
		s.add(Step{Name: "list as " + accept, Method: "GET", Path: s.collection() + "?labelSelector=form%3Dyes", Header: header})
		s.add(Step{Name: "what is not there as " + accept, Method: "GET", Path: s.path("nothing"), Header: header})
	}
	for _, accept := range []string{yamlType, protobufType, cborType, "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "text/html", "application/json;pretty=1"} {
		header := map[string]string{"Accept": accept, "Content-Type": "application/json"}
		s.add(Step{Name: "create answered as " + accept, Method: "POST", Path: s.collection() + "?dryRun=All", Header: header, Body: encode(s.object(a + "-b"))})
		s.add(Step{Name: "patch answered as " + accept, Method: "PATCH", Path: s.path(a) + "?dryRun=All", Body: []byte(`{"metadata":{"labels":{"x":"y"}}}`),
			Header: map[string]string{"Accept": accept, "Content-Type": "application/merge-patch+json"}})
		s.add(Step{Name: "delete answered as " + accept, Method: "DELETE", Path: s.path(a) + "?dryRun=All", Header: map[string]string{"Accept": accept}})
	}
	for _, pretty := range []string{"true", "false", "1", "x", ""} {
		s.get("pretty "+pretty, s.path(a)+"?pretty="+pretty)
	}
	for _, query := range []string{"includeObject=None", "includeObject=Metadata", "includeObject=Object", "includeObject=Other"} {
		header := map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
		s.add(Step{Name: "table with " + query, Method: "GET", Path: s.path(a) + "?" + query, Header: header})
		s.add(Step{Name: "table of a list with " + query, Method: "GET", Path: s.collection() + "?labelSelector=form%3Dyes&" + query, Header: header})
	}
	sent := forms(s.object(a + "-c"))
	for _, form := range inOrder(sent) {
		for _, contentType := range contentTypes(form) {
			s.add(Step{Name: "create of " + form + " said to be " + contentType, Method: "POST", Path: s.collection() + "?dryRun=All",
				Header: map[string]string{"Content-Type": contentType}, Body: sent[form]})
		}
	}
}

// forms gives one object in all of them; protobuf only where client-go knows the kind.
func forms(obj map[string]any) map[string][]byte {
	out := map[string][]byte{"json": encode(obj)}
	if data, err := yaml.Marshal(obj); err == nil {
		out["yaml"] = data
	}
	if data, err := direct.Marshal(obj); err == nil {
		out["cbor"] = data
	}
	u := &unstructured.Unstructured{Object: obj}
	gvk := schema.FromAPIVersionAndKind(u.GetAPIVersion(), u.GetKind())
	typed, err := scheme.Scheme.New(gvk)
	if err != nil {
		return out
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj, typed); err != nil {
		return out
	}
	typed.GetObjectKind().SetGroupVersionKind(gvk)
	var data strings.Builder
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(typed, &data); err == nil {
		out["protobuf"] = []byte(data.String())
	}
	return out
}

func contentTypes(form string) []string {
	if form != "json" {
		return []string{map[string]string{"yaml": yamlType, "cbor": cborType, "protobuf": protobufType}[form], "application/json"}
	}
	return []string{"", "application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "text/plain", "application/x-www-form-urlencoded", yamlType, protobufType, cborType, "*/*", "garbage", "application/strategic-merge-patch+json"}
}
