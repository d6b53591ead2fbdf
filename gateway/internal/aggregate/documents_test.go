package aggregate

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestOfAServersDocumentOnlyItsOwnPartIsTaken(t *testing.T) {
	t.Parallel()
	part, err := ownPart([]byte(`{"swagger":"2.0","info":{"title":"x"},"paths":{
		"/apis/w.example/v1":{"get":{"schema":{"$ref":"#/definitions/List"}}},
		"/apis/w.example/v1/things/{name}":{"get":{"schema":{"$ref" : "#/definitions/Thing"}}},
		"/apis/w.example/v1beta1/things":{"get":{"schema":{"$ref":"#/definitions/Old"}}},
		"/api/v1/secrets":{"get":{"schema":{"$ref":"#/definitions/Secret"}}}},
		"definitions":{"List":{"items":{"$ref":"#/definitions/Thing"}},"Thing":{"meta":{"$ref":"#/definitions/Meta"},"self":{"$ref":"#/definitions/Thing"},"none":{"$ref":"#/definitions/None"}},
			"Meta":{},"Old":{},"Secret":{},"Unused":{}}}`), "/apis/w.example/v1")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Swagger            string
		Paths, Definitions map[string]any
	}
	if err := json.Unmarshal(part, &got); err != nil {
		t.Fatal(err)
	}
	paths, definitions := strings.Join(slices.Sorted(maps.Keys(got.Paths)), " "), strings.Join(slices.Sorted(maps.Keys(got.Definitions)), " ")
	if got.Swagger != "2.0" || paths != "/apis/w.example/v1 /apis/w.example/v1/things/{name}" || definitions != "List Meta Thing" {
		t.Errorf("got the paths %s with %s", paths, definitions)
	}
	if _, err := ownPart([]byte("<html>"), "/apis/w.example/v1"); err == nil {
		t.Error("what is no document was taken")
	}
}

// FuzzOwnPart: of whatever a server says a part is taken that is its own, or nothing.
func FuzzOwnPart(f *testing.F) {
	for _, seed := range []string{
		`{"swagger":"2.0","paths":{"/apis/w.example/v1/a":{"$ref":"#/definitions/A"},"/api/v1/b":{}},"definitions":{"A":{"b":{"$ref":"#/definitions/A"}}}}`,
		`null`, `{"paths":null,"definitions":null}`, `{"paths":{"/apis/w.example/v1":null,"/apis/w.example/v10":1}}`, `{"info":1,"paths":{"/apis/w.example/v1":"\"$ref\":\"#/definitions/A\""},"definitions":{"A":null}}`, `{"paths":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		const prefix = "/apis/w.example/v1"
		part, err := ownPart(document, prefix)
		if err != nil {
			return
		}
		var got struct{ Paths map[string]json.RawMessage }
		if err := json.Unmarshal(part, &got); err != nil {
			t.Fatalf("%q: made %q: %v", document, part, err)
		}
		for path := range got.Paths {
			if path != prefix && !strings.HasPrefix(path, prefix+"/") {
				t.Errorf("%q: took %q", document, path)
			}
		}
	})
}
