package resource

import (
	"reflect"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/serializer/json"
)

func TestWhatADocumentIsOfIsToldAsUpstreamTellsIt(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		`{"kind":"ConfigMap","apiVersion":"v1","metadata":{}}`,
		`{"metadata":{"kind":"no"},"apiVersion":"apps/v1","kind":"Deployment"}`,
		` { "kind" : "Pod" , "apiVersion" : "v1" } `,
		`{"kind":"Conf\u0069gMap","apiVersion":"v1"}`,
		`{"kind":"ConfigMap"}`, `{"apiVersion":"v1"}`, `{"Kind":"ConfigMap","apiversion":"v1"}`,
		`{"kind":null,"apiVersion":"v1"}`, `{"kind":"X","apiVersion":"a/b/c"}`, `{}`, `null`,
		`{"kind":1,"apiVersion":"v1"}`, `{`, ``, `[]`,
	} {
		got, err := storedMeta{}.Interpret([]byte(document))
		want, wantErr := json.DefaultMetaFactory.Interpret([]byte(document))
		if !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) {
			t.Errorf("%s: got %v, %v, want %v, %v", document, got, err, want, wantErr)
		}
	}
}

// BenchmarkDecodeLarge measures the decoding of a stored object of 900 KB.
func BenchmarkDecodeLarge(b *testing.B) {
	document := []byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"data":{"a":"` + strings.Repeat("x", 900<<10) + `"}}`)
	var codec Codec
	for _, k := range BuiltIn() {
		if k.GVK.Kind == "ConfigMap" {
			codec = k.Codec
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := codec.Decode(document); err != nil {
			b.Fatal(err)
		}
	}
}
