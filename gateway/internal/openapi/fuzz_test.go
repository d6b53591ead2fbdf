package openapi

import (
	"encoding/json"
	"testing"
)

// FuzzParts: whatever other servers say of their types, the document that is made of it is
// JSON or there is none, and its protobuf form is made or refused.
func FuzzParts(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"openapi":"3.0.0","info":{"title":"x"},"paths":{"/apis/w.example/v1":{"get":{"responses":{"200":{"description":"OK"}}}}},"components":{"schemas":{"A":{"type":"object"}}}}`, `{"components":{"schemas":{"A":{},"B":{"$ref":"#/components/schemas/A"}}}}`},
		{`null`, `{"components":{"schemas":{"B":{}}}}`}, {`{"components":null}`, `{"components":{"schemas":{"B":{}}}}`}, {`{"components":{"schemas":null}}`, `{"paths":null}`},
		{`{"swagger":"2.0","paths":{"/a":{"get":{"parameters":[{"$ref":"#/parameters/p"}]}}},"definitions":{"A":{"type":"object","properties":{"b":{"$ref":"#/definitions/A"}}}},"parameters":{"p":{"in":"query","name":"p","type":"string"}}}`, `{"definitions":{"A":1}}`},
		{`{`, `[]`}, {`{}`, `1`}, {`{"paths":{"":{}}}`, `{"components":[]}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		given := func(text string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(text), nil } }
		v3, err := mergeV3("apis/w.example/v1", []Part{{V3: given(first)}, {V3: given(second)}})
		if err == nil {
			if !json.Valid(v3) {
				t.Errorf("%q and %q: made %q", first, second, v3)
			}
			_, _ = toProtoV3(v3)
		}
		sections := map[string]raw{"paths": {}, "definitions": {}, "parameters": {}}
		_ = addDocument(sections, given(first))
		_ = addDocument(sections, given(second))
		v2, err := withSections(raw{}, sections)
		if err != nil || !json.Valid(v2) {
			t.Errorf("%q and %q: made %q, %v", first, second, v2, err)
		}
		_, _ = toProto(v2)
	})
}
