package custom

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	"k8s.io/apiserver/pkg/util/webhook"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// stored is a definition as the log has it: accepted, of two versions, the first stored.
func stored(plural, schema string) *statelog.Entry {
	kind := strings.ToUpper(plural[:1]) + plural[1:]
	names := fmt.Sprintf(`{"plural":%q,"singular":%q,"kind":%q,"listKind":%q}`, plural, strings.ToLower(kind), kind, kind+"List")
	doc := fmt.Sprintf(`{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"%s.example.com","uid":"u","generation":1,
		"annotations":{"kubectl.kubernetes.io/last-applied-configuration":%q}},
		"spec":{"group":"example.com","names":%s,"scope":"Namespaced","conversion":{"strategy":"None"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":%s},"selectableFields":[{"jsonPath":".spec.plain"}]},{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":%s}}]},
		"status":{"acceptedNames":%s,"storedVersions":["v1"]}}`, plural, schema, names, schema, schema, names)
	return statelog.NewEntry(proto.Key{GroupResource: definitions, Name: plural + ".example.com"}, 1, []byte(doc), false)
}

var theFactory = sync.OnceValues(func() (*conversion.CRConverterFactory, error) {
	return conversion.NewCRConverterFactory(webhook.NewDefaultServiceResolver(), nil)
})

func definitionOf(t testing.TB, entry *statelog.Entry) *Definition {
	t.Helper()
	factory, err := theFactory()
	if err != nil {
		t.Fatal(err)
	}
	crd, err := outlineOf(entry)
	if err != nil {
		t.Fatal(err)
	}
	return newDefinition(crd, entry, factory)
}

func TestADefinitionThatNobodyUsesCostsLittle(t *testing.T) {
	large := strings.Replace(everySchema, `"plain":{"type":"string"}`, `"plain":{"type":"string","description":"`+strings.Repeat("x", 100<<10)+`"}`, 1)
	entry := stored("widgets", large)
	const many, most = 200, 32 << 10 // bytes each, beside the document
	kept := make([][]*resource.Kind, many)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range kept {
		kept[i] = definitionOf(t, entry).kinds()
	}
	if each := (heap() - before) / many; each > most {
		t.Errorf("%d bytes each, want at most %d", each, most)
	}
	runtime.KeepAlive(kept)
}

func TestADocumentIsReadByTheSchemaOfItsVersion(t *testing.T) {
	d := definitionOf(t, stored("widgets", everySchema))
	v1, v2 := d.kinds()[0].Codec, d.kinds()[1].Codec
	doc := []byte(strings.Replace(document(`{"unknown":1,"plain":"p"}`), `"K"`, `"Widgets"`, 1))
	if v1.Direct(doc, 1, d.gv("v1")) {
		t.Error("what has to be defaulted is shown as it is")
	}
	for name, codec := range map[string]resource.Codec{"v1": v1, "v2": v2} {
		obj, err := codec.Decode(doc)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := codec.Encode(obj)
		if err != nil {
			t.Fatal(err)
		}
		shown := obj.GetObjectKind().GroupVersionKind()
		if want := `{"kind":"Widgets","apiVersion":"example.com/v1","metadata":{"annotations":{"a\"b":"}{"},"name":"n"},"spec":{"number":3,"plain":"p"}}`; string(encoded) != want || shown.Version != name {
			t.Errorf("%s: shown as %v, stored as %s", name, shown, encoded)
		}
		if !v1.Direct(encoded, 2, d.gv("v1")) || v2.Direct(encoded, 2, d.gv("v2")) {
			t.Errorf("%s: what was written now is shown as it is in its own version only", name)
		}
	}
}

// bigDocument is an object of two KiB or so, with managed fields as they are.
func bigDocument() []byte {
	managed := strings.Repeat(`{"manager":"m","operation":"Update","apiVersion":"example.com/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:list":{},"f:map":{},"f:plain":{}}}},`, 4)
	list := strings.Repeat(`{"a":"x","b":"some text that is of some length"},`, 15)
	return []byte(fmt.Sprintf(`{"kind":"Widgets","apiVersion":"example.com/v1","metadata":{"name":"n","managedFields":[%s]},"spec":{"list":[%s],"map":{"k":{"k":"v"}},"number":1,"plain":"p"}}`,
		strings.TrimSuffix(managed, ","), strings.TrimSuffix(list, ",")))
}

func BenchmarkRead(b *testing.B) {
	d := definitionOf(b, stored("widgets", everySchema))
	codec := d.kinds()[0].Codec
	doc := bigDocument()
	if !json.Valid(doc) || !codec.Direct(doc, 1, d.gv("v1")) {
		b.Fatal("the document is not shown as it is")
	}
	schemas, err := d.schemas()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("seen before", func(b *testing.B) {
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			codec.Direct(doc, 1, d.gv("v1"))
		}
	})
	b.Run("walked over", func(b *testing.B) {
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			schemas["v1"].shape.fits(doc)
		}
	})
	b.Run("decoded", func(b *testing.B) {
		b.SetBytes(int64(len(doc)))
		for b.Loop() {
			if _, err := codec.Decode(doc); err != nil {
				b.Fatal(err)
			}
		}
	})
}
