package gateway

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/apiclient"
)

// minimal gives what a kind needs beyond a name, as JSON fields.
var minimal = map[string]string{
	"Event":              `"involvedObject":{"namespace":"default"},"reportingComponent":"t","reportingInstance":"t","action":"a","reason":"r","type":"Normal","eventTime":"2026-01-02T03:04:05.000006Z"`,
	"Pod":                `"spec":{"serviceAccountName":"test","containers":[{"name":"c","image":"i","ports":[{"containerPort":80}]}]}`,
	"Service":            `"spec":{"ports":[{"port":80}]}`,
	"Lease":              `"spec":{"holderIdentity":"me","leaseDurationSeconds":5}`,
	"EndpointSlice":      `"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}]`,
	"Deployment":         `"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}`,
	"ReplicaSet":         `"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}`,
	"ClusterRoleBinding": `"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`,
	"RoleBinding":        `"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`,
	"PriorityClass":      `"value":7`,
	"APIService":         `"spec":{"group":"x.example","version":"v1","groupPriorityMinimum":100,"versionPriority":100,"insecureSkipTLSVerify":true,"service":{"namespace":"default","name":"x"}}`,
	"PodTemplate":        `"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}`,
}

// fixedNames are those of kinds that cannot have any.
var fixedNames = map[string]string{"APIService": "v1.x.example"}

func TestEveryKindInEveryForm(t *testing.T) {
	g := start(t)
	must[unstructured.Unstructured](t, g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"test"}}`)
	for _, kind := range resource.BuiltIn() {
		for _, gv := range kind.Served {
			t.Run(gv.String()+" "+kind.GVK.Kind, func(t *testing.T) {
				path := collectionPath(kind, gv)
				name := "x-" + strings.ReplaceAll(gv.Group, ".", "-") + "x"
				if fixed := fixedNames[kind.GVK.Kind]; fixed != "" {
					name = fixed
				}
				body := objectOf(kind, gv, name)
				made := get(t, g, apiclient.Request{Method: "POST", Path: path, Body: []byte(body)})
				checkAs(t, made, gv.WithKind(kind.GVK.Kind))

				// protobuf there and back changes nothing
				object, err := runtime.Decode(resource.Codecs.UniversalDeserializer(), made)
				if err != nil {
					t.Fatal(err)
				}
				const protobuf = "application/vnd.kubernetes.protobuf"
				info, _ := runtime.SerializerInfoForMediaType(resource.Codecs.SupportedMediaTypes(), protobuf)
				data, err := runtime.Encode(resource.Codecs.EncoderForVersion(info.Serializer, gv), object)
				if err != nil {
					t.Fatal(err)
				}
				same := get(t, g, apiclient.Request{Method: "PUT", Path: path + "/" + name, Body: data, ContentType: protobuf, Accept: protobuf})
				back, err := runtime.Decode(resource.Codecs.UniversalDeserializer(), same)
				if err != nil {
					t.Fatal(err)
				}
				before, _ := meta.Accessor(object)
				after, _ := meta.Accessor(back)
				if before.GetResourceVersion() != after.GetResourceVersion() {
					t.Errorf("writing the same in protobuf changed version %s to %s", before.GetResourceVersion(), after.GetResourceVersion())
				}

				apply := get(t, g, apiclient.Request{Method: "PATCH", Path: path + "/" + name, Query: map[string][]string{"fieldManager": {"t"}, "force": {"true"}},
					ContentType: "application/apply-patch+yaml", Body: []byte(strings.Replace(body, `"metadata":{`, `"metadata":{"labels":{"applied":"yes"},`, 1))})
				checkAs(t, apply, gv.WithKind(kind.GVK.Kind))

				for _, accept := range []string{"application/json", "application/yaml", protobuf, "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
					if list := get(t, g, apiclient.Request{Path: path, Accept: accept}); len(list) == 0 {
						t.Errorf("%s: an empty answer", accept)
					}
				}
				for _, sub := range kind.Subresources {
					if sub.Update != nil && sub.Name != "finalize" {
						get(t, g, apiclient.Request{Path: path + "/" + name + "/" + sub.Name})
					}
				}
				zero := int64(0)
				if err := apiclient.Delete(t.Context(), g.admin, path+"/"+name, &metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func collectionPath(kind *resource.Kind, gv schema.GroupVersion) string {
	path := "/apis/" + gv.String()
	if gv.Group == "" {
		path = "/api/" + gv.Version
	}
	if kind.Namespaced {
		path += "/namespaces/default"
	}
	return path + "/" + kind.GVR.Resource
}

func objectOf(kind *resource.Kind, gv schema.GroupVersion, name string) string {
	fields := minimal[kind.GVK.Kind]
	if gv.Group == "events.k8s.io" {
		fields = strings.NewReplacer("involvedObject", "regarding", "reportingComponent", "reportingController").Replace(fields)
	}
	if fields != "" {
		fields = "," + fields
	}
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,"annotations":{"by":"test"}}%s}`, gv.String(), kind.GVK.Kind, name, fields)
}

func get(t *testing.T, g *running, r apiclient.Request) []byte {
	t.Helper()
	data, err := g.admin.Do(t.Context(), r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	}
	return data
}

func checkAs(t *testing.T, data []byte, want schema.GroupVersionKind) {
	t.Helper()
	var u unstructured.Unstructured
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	if u.GroupVersionKind() != want || u.GetUID() == "" || u.GetResourceVersion() == "" || len(u.GetManagedFields()) == 0 {
		t.Errorf("got %s", data)
	}
}
