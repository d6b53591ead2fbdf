package custom

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apimachinery/pkg/runtime"
)

func structuralOf(t testing.TB, text string) *structuralschema.Structural {
	t.Helper()
	v1, internal := &apiextensionsv1.JSONSchemaProps{}, &apiextensions.JSONSchemaProps{}
	if err := json.Unmarshal([]byte(text), v1); err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v1, internal, nil); err != nil {
		t.Fatal(err)
	}
	s, err := structuralschema.NewStructural(internal)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everySchema has one field of each sort that pruning and defaulting tell apart.
const everySchema = `{"type":"object","properties":{"spec":{"type":"object","properties":{
	"plain":{"type":"string"},
	"number":{"type":"integer","default":3},
	"nullable":{"type":"string","nullable":true},
	"list":{"type":"array","items":{"type":"object","properties":{"a":{"type":"string","default":"x"},"b":{"type":"string"}}}},
	"matrix":{"type":"array","items":{"type":"array","items":{"type":"integer"}}},
	"map":{"type":"object","additionalProperties":{"type":"object","properties":{"k":{"type":"string"}}}},
	"open":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"known":{"type":"object","properties":{"in":{"type":"string"}}}}},
	"openList":{"type":"array","x-kubernetes-preserve-unknown-fields":true,"items":{"type":"object","properties":{"k":{"type":"string"}}}},
	"embedded":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true},
	"either":{"x-kubernetes-int-or-string":true}}}}}`

func document(spec string) string {
	return `{"kind":"K","apiVersion":"example.com/v1","metadata":{"name":"n","annotations":{"a\"b":"}{"}},"spec":` + spec + `}`
}

// changes says what pruning and defaulting really do.
func changes(t testing.TB, s *structuralschema.Structural, doc string) bool {
	t.Helper()
	var before map[string]any
	if err := json.Unmarshal([]byte(doc), &before); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	after := runtime.DeepCopyJSON(before)
	if _, err := coerceContent(after, s, false); err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	structuraldefaulting.Default(after, s)
	return !reflect.DeepEqual(before, after)
}

func TestADocumentFitsExactlyWhenTheSchemaLeavesItAsItIs(t *testing.T) {
	s := structuralOf(t, everySchema)
	shape := shapeOf(s)
	for _, spec := range []string{
		`{"number":3}`, `{}`, `{"number":null}`, `{"number":1,"plain":"}\"{"}`, `{"number":1,"plain":null}`, `{"number":1,"nullable":null}`,
		`{"number":1,"unknown":1}`, `{"number":1,"list":[]}`, `{"number":1,"list":[{"a":"1"},{"a":"2","b":"3"}]}`, `{"number":1,"list":[{"b":"3"}]}`,
		`{"number":1,"list":[{"a":"1","c":1}]}`, `{"number":1,"matrix":[[1,2],[]]}`, `{"number":1,"matrix":[[{"a":1}]]}`,
		`{"number":1,"map":{"x":{"k":"v"},"y":{}}}`, `{"number":1,"map":{"x":{"l":"v"}}}`, `{"number":1,"map":{"x":null}}`,
		`{"number":1,"open":{"any":{"thing":[null,{"x":{}}]},"known":{"in":"x"}}}`, `{"number":1,"open":{"known":{"out":"x"}}}`,
		`{"number":1,"openList":[{"k":"v","other":1}]}`, `{"number":1,"openList":[{"other":{"deep":null}}]}`,
		`{"number":1,"either":1}`, `{"number":1,"either":"1"}`, `{"number":1,"plain":"é\u2028"}`,
	} {
		if got, want := shape.fits([]byte(document(spec))), !changes(t, s, document(spec)); got != want {
			t.Errorf("%s: got %t, want %t", spec, got, want)
		}
	}
}

func TestWhatCannotBeToldFromBytesDoesNotFit(t *testing.T) {
	shape := shapeOf(structuralOf(t, everySchema))
	for _, doc := range []string{
		document(`{"number":1,"embedded":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}}`),
		document(`{"number":1,"open":{"\u003c":1}}`), document(`{"number":1,"list":[null]}`),
		``, `{`, `null`, `[]`, `{"kind":"K"`, document(`{"number":1}`) + " ", strings.TrimSuffix(document(`{"number":1}`), "}"),
	} {
		if shape.fits([]byte(doc)) {
			t.Errorf("%s fits", doc)
		}
	}
}

// Whatever the document, a walk that finds it unchanged is right.
func FuzzFits(f *testing.F) {
	s := structuralOf(f, everySchema)
	shape := shapeOf(s)
	for _, spec := range []string{`{"number":1,"list":[{"a":"x"}],"map":{"a":{"k":"v"}}}`, `{"number":1,"open":{"x":[1,{"y":null}]}}`} {
		f.Add(document(spec))
	}
	f.Fuzz(func(t *testing.T, doc string) {
		var object map[string]any
		if json.Unmarshal([]byte(doc), &object) != nil {
			return
		}
		if _, ok := object["metadata"].(map[string]any); !ok {
			return
		}
		canonical, err := json.Marshal(object) // as the gateway writes documents
		if err != nil {
			return
		}
		if shape.fits(canonical) && changes(t, s, string(canonical)) {
			t.Errorf("%s fits, and changes", canonical)
		}
	})
}
