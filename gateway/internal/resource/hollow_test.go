package resource

import (
	"bytes"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What is stored of an object is what would be left of it after a journey through
// protobuf, in which upstream keeps it.
func TestWhatIsStoredIsAsProtobufWouldLeaveIt(t *testing.T) {
	for name, c := range map[string]struct{ gv, resource, body string }{
		"a list that is always shown":   {"rbac.authorization.k8s.io/v1", "roles", `{"rules":[]}`},
		"one in a list":                 {"rbac.authorization.k8s.io/v1", "clusterroles", `{"rules":[{"verbs":[],"nonResourceURLs":["/x"]}]}`},
		"one in a struct":               {"v1", "limitranges", `{"spec":{"limits":[]}}`},
		"two":                           {"discovery.k8s.io/v1", "endpointslices", `{"addressType":"IPv4","endpoints":[{"addresses":[]}],"ports":[]}`},
		"one that is left out":          {"v1", "services", `{"spec":{"ports":[],"externalIPs":[]}}`},
		"one behind a pointer":          {"networking.k8s.io/v1", "networkpolicies", `{"spec":{"podSelector":{},"ingress":[{"from":[{"namespaceSelector":{"matchExpressions":[]}}]}]}}`},
		"no value of binary data":       {"v1", "configmaps", `{"binaryData":{"a":null,"b":"eA=="}}`},
		"no value of a secret":          {"v1", "secrets", `{"data":{"a":null}}`},
		"what is full":                  {"v1", "pods", `{"spec":{"containers":[{"name":"c","args":["a"]}]}}`},
		"what is hollow and not a list": {"v1", "pods", `{"spec":{"securityContext":{},"containers":[]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			gv, err := schema.ParseGroupVersion(c.gv)
			if err != nil {
				t.Fatal(err)
			}
			kind := NewRegistry(BuiltIn()).Find(gv.WithResource(c.resource))
			obj, err := kind.Codec.Decode([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			written := obj.DeepCopyObject()
			got, err := kind.Document(obj)
			if err != nil {
				t.Fatal(err)
			}
			info, _ := runtime.SerializerInfoForMediaType(Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
			kept, err := runtime.Encode(Codecs.EncoderForVersion(info.Serializer, kind.GVK.GroupVersion()), written)
			if err != nil {
				t.Fatal(err)
			}
			back, err := runtime.Decode(Codecs.UniversalDecoder(schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}), kept)
			if err != nil {
				t.Fatal(err)
			}
			want, err := kind.Codec.Encode(back)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("stored %s\nwant   %s, %v", got, want, err)
			}
		})
	}
}
