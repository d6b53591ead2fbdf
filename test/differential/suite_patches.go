package differential

import (
	"fmt"
	"strings"
)

const (
	jsonPatch      = "application/json-patch+json"
	mergePatch     = "application/merge-patch+json"
	strategicPatch = "application/strategic-merge-patch+json"
	applyPatch     = "application/apply-patch+yaml"
)

// patches tries all kinds of patch but apply.
func patches(s *story) {
	a := s.base
	s.patch("patch what is not there", s.path(a), mergePatch, `{"metadata":{"labels":{"a":"b"}}}`)
	s.send("create", "POST", s.collection(), s.labelled(a, map[string]any{"a": "b", "c": "d"}))
	for _, c := range []struct{ name, kind, body string }{
		{"json: add a label", jsonPatch, `[{"op":"add","path":"/metadata/labels/e","value":"f"}]`},
		{"json: replace a label", jsonPatch, `[{"op":"replace","path":"/metadata/labels/a","value":"z"}]`},
		{"json: remove a label", jsonPatch, `[{"op":"remove","path":"/metadata/labels/c"}]`},
		{"json: remove what is not there", jsonPatch, `[{"op":"remove","path":"/metadata/labels/nothing"}]`},
		{"json: replace what is not there", jsonPatch, `[{"op":"replace","path":"/metadata/labels/nothing","value":"x"}]`},
		{"json: a test that holds", jsonPatch, `[{"op":"test","path":"/metadata/labels/a","value":"z"},{"op":"add","path":"/metadata/labels/g","value":"h"}]`},
		{"json: a test that fails", jsonPatch, `[{"op":"test","path":"/metadata/labels/a","value":"no"}]`},
		{"json: move", jsonPatch, `[{"op":"move","from":"/metadata/labels/g","path":"/metadata/labels/i"}]`},
		{"json: copy", jsonPatch, `[{"op":"copy","from":"/metadata/labels/i","path":"/metadata/labels/j"}]`},
		{"json: an operation that is none", jsonPatch, `[{"op":"other","path":"/metadata/labels/a"}]`},
		{"json: no list", jsonPatch, `{"metadata":{}}`},
		{"json: empty", jsonPatch, `[]`},
		{"json: nothing", jsonPatch, ``},
		{"json: no json", jsonPatch, `[{`},
		{"json: a wrong path", jsonPatch, `[{"op":"add","path":"metadata","value":1}]`},
		{"json: of a list beyond its end", jsonPatch, `[{"op":"add","path":"/metadata/finalizers/5","value":"x"}]`},
		{"json: a wrong type", jsonPatch, `[{"op":"replace","path":"/metadata/labels","value":"x"}]`},
		{"json: the name", jsonPatch, `[{"op":"replace","path":"/metadata/name","value":"x"}]`},
		{"json: the kind", jsonPatch, `[{"op":"replace","path":"/kind","value":"X"}]`},
		{"json: all of it", jsonPatch, `[{"op":"replace","path":"","value":{}}]`},
		{"json: an unknown field", jsonPatch, `[{"op":"add","path":"/unknownField","value":1}]`},
		{"json: an unknown member", jsonPatch, `[{"op":"add","path":"/metadata/labels/k","value":"l","other":1}]`},
		{"json: too many operations", jsonPatch, "[" + strings.Repeat(`{"op":"add","path":"/metadata/labels/a","value":"z"},`, 10000) + `{"op":"add","path":"/metadata/labels/a","value":"z"}]`},
		{"json: too much copied", jsonPatch, `[{"op":"add","path":"/metadata/annotations","value":{"a":"` + strings.Repeat("x", 10000) + `"}}` + strings.Repeat(`,{"op":"copy","from":"/metadata/annotations","path":"/metadata/annotations/b"}`, 400) + `]`},
		{"merge: a label", mergePatch, `{"metadata":{"labels":{"m":"n"}}}`},
		{"merge: a label away", mergePatch, `{"metadata":{"labels":{"m":null}}}`},
		{"merge: nothing new", mergePatch, `{"metadata":{"labels":{"a":"z"}}}`},
		{"merge: empty", mergePatch, `{}`},
		{"merge: nothing", mergePatch, ``},
		{"merge: null", mergePatch, `null`},
		{"merge: a list", mergePatch, `[]`},
		{"merge: no json", mergePatch, `{`},
		{"merge: a wrong type", mergePatch, `{"metadata":{"labels":"x"}}`},
		{"merge: a bad label", mergePatch, `{"metadata":{"labels":{"a b":"c"}}}`},
		{"merge: an unknown field", mergePatch, `{"unknownField":1,"metadata":{"unknown":2}}`},
		{"merge: a field twice", mergePatch, `{"metadata":{"labels":{"o":"1","o":"2"}}}`},
		{"merge: another version", mergePatch, `{"apiVersion":"x/v9"}`},
		{"merge: another kind", mergePatch, `{"kind":"X"}`},
		{"merge: the name", mergePatch, `{"metadata":{"name":"x"}}`},
		{"merge: the namespace", mergePatch, `{"metadata":{"namespace":"x"}}`},
		{"merge: the uid", mergePatch, `{"metadata":{"uid":"x"}}`},
		{"merge: an old version", mergePatch, `{"metadata":{"resourceVersion":"1","labels":{"p":"q"}}}`},
		{"merge: a version that is none", mergePatch, `{"metadata":{"resourceVersion":"x","labels":{"p":"q"}}}`},
		{"merge: this version", mergePatch, fmt.Sprintf(`{"metadata":{"resourceVersion":"${rv:%s}","labels":{"p":"q"}}}`, s.k.ObjectName(a))},
		{"strategic: a label", strategicPatch, `{"metadata":{"labels":{"r":"s"}}}`},
		{"strategic: replace the labels", strategicPatch, `{"metadata":{"labels":{"$patch":"replace","t":"u"}}}`},
		{"strategic: add a finalizer", strategicPatch, `{"metadata":{"finalizers":["example.com/a"]}}`},
		{"strategic: another finalizer", strategicPatch, `{"metadata":{"finalizers":["example.com/b"]}}`},
		{"strategic: order the finalizers", strategicPatch, `{"metadata":{"$setElementOrder/finalizers":["example.com/b","example.com/a"]}}`},
		{"strategic: a finalizer away", strategicPatch, `{"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/a","example.com/b"]}}`},
		{"strategic: a directive that is none", strategicPatch, `{"metadata":{"labels":{"$patch":"other"}}}`},
		{"strategic: a wrong type", strategicPatch, `{"metadata":{"labels":"x"}}`},
		{"strategic: an owner without its key", strategicPatch, `{"metadata":{"ownerReferences":[{"name":"x"}]}}`},
		{"strategic: an unknown field", strategicPatch, `{"unknownField":1}`},
		{"strategic: no json", strategicPatch, `{`},
		{"strategic: delete it all", strategicPatch, `{"$patch":"delete"}`},
		{"strategic: retain keys", strategicPatch, `{"metadata":{"$retainKeys":["name"]}}`},
		{"a type that is none", "application/json", `{}`},
		{"a patch without a type", "", `{}`},
		{"a patch of yaml", yamlType, `{}`},
		{"a type with a charset", mergePatch + "; charset=utf-8", `{"metadata":{"labels":{"v":"w"}}}`},
		{"cbor apply", "application/apply-patch+cbor", `{}`},
	} {
		s.patch(c.name, s.path(a), c.kind, c.body)
	}
	for _, mode := range []string{"Strict", "Warn", "Ignore"} {
		for _, kind := range []string{mergePatch, strategicPatch} {
			s.patch(mode+" "+kind, s.path(a)+"?fieldValidation="+mode, kind, `{"unknownField":1,"metadata":{"unknown":2,"labels":{"a":"1","a":"2"}}}`)
		}
		s.patch(mode+" "+jsonPatch, s.path(a)+"?fieldValidation="+mode, jsonPatch, `[{"op":"add","path":"/unknownField","value":1}]`)
	}
	s.patch("a whole object", s.path(a), mergePatch, s.object(a))
	s.patch("a whole object, strategically", s.path(a), strategicPatch, s.object(a))
	s.patch("the collection", s.collection(), mergePatch, `{}`)
	s.get("after all that", s.path(a))
}
