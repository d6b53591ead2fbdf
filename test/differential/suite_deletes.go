package differential

import (
	"fmt"
	"net/url"
	"strings"
)

// deletes tries how objects go.
func deletes(s *story) {
	a := s.base
	s.create("create", a)
	del := func(name, query string, body any) {
		s.add(Step{Name: name, Method: "DELETE", Path: s.path(a) + query, Header: jsonBody(), Body: encode(body)})
	}
	options := func(fields string) string {
		return `{"kind":"DeleteOptions","apiVersion":"v1"` + strings.TrimSuffix(","+fields, ",") + `}`
	}
	for _, c := range []struct{ name, query, body string }{
		{"dry", "?dryRun=All", ""},
		{"dry by the body", "", options(`"dryRun":["All"]`)},
		{"dry by a wrong body", "", options(`"dryRun":["x"]`)},
		{"another uid", "", options(`"preconditions":{"uid":"11111111-2222-3333-4444-555555555555"}`)},
		{"another version", "", options(`"preconditions":{"resourceVersion":"1"}`)},
		{"a policy that is none", "?propagationPolicy=x", ""},
		{"a policy that is none by the body", "", options(`"propagationPolicy":"x"`)},
		{"a policy and the old one", "", options(`"propagationPolicy":"Orphan","orphanDependents":true`)},
		{"a negative grace period", "?gracePeriodSeconds=-1&dryRun=All", ""},
		{"a grace period that is none", "?gracePeriodSeconds=x", ""},
		{"a grace period", "?gracePeriodSeconds=5&dryRun=All", ""},
		{"an old parameter", "?orphanDependents=x&dryRun=All", ""},
		{"options of another kind", "", `{"kind":"Other","apiVersion":"v1"}`},
		{"options of another version", "", `{"kind":"DeleteOptions","apiVersion":"x/v9"}`},
		{"options of the group", "?dryRun=All", `{"kind":"DeleteOptions","apiVersion":"` + s.k.APIVersion() + `"}`},
		{"options without a kind", "?dryRun=All", `{"gracePeriodSeconds":3}`},
		{"options with an unknown field", "", options(`"dryRun":["All"],"x":1`)},
		{"no options", "", `{`},
		{"options that are a text", "", `x`},
		{"ignoring read errors", "?ignoreStoreReadErrorWithClusterBreakingPotential=true&dryRun=All", ""},
	} {
		del(c.name, c.query, c.body)
		if s.ends() { // a body without dryRun counts, whatever the query says
			s.look("after "+c.name, s.path(a))
		}
	}
	s.add(Step{Name: "options of an unknown type", Method: "DELETE", Path: s.path(a), Header: map[string]string{"Content-Type": "text/plain"}, Body: []byte("{}")})
	s.add(Step{Name: "options as yaml", Method: "DELETE", Path: s.path(a) + "?dryRun=All", Header: map[string]string{"Content-Type": yamlType}, Body: []byte("kind: DeleteOptions\napiVersion: v1\n")})
	s.get("still there", s.path(a))
	name := s.k.ObjectName(a)
	del("by its uid and version", "", options(fmt.Sprintf(`"preconditions":{"uid":"${uid:%s}","resourceVersion":"${rv:%s}"},"gracePeriodSeconds":0`, name, name)))
	s.look("after its uid and version", s.path(a))
	for _, policy := range []string{"Background", "Foreground", "Orphan"} {
		s.create("create for "+policy, a)
		del("delete "+policy, "?propagationPolicy="+policy, "")
		s.look("after "+policy, s.path(a))
		s.patch("no finalizers after "+policy, s.path(a), mergePatch, `{"metadata":{"finalizers":null}}`)
		del("at once after "+policy, "?gracePeriodSeconds=0", "")
		s.look("at the end of "+policy, s.path(a))
	}
	s.send("create with a finalizer", "POST", s.collection(), func() map[string]any {
		o := s.object(a)
		meta(o)["finalizers"] = []any{"example.com/f"}
		return o
	}())
	del("delete with a finalizer", "", "")
	s.look("it is about to go", s.path(a))
	del("delete it again", "", "")
	s.look("it waits", s.path(a))
	s.create("create what waits", a)
	s.edit("change what waits", s.path(a), a, relabel("w"))
	s.edit("add a finalizer to what waits", s.path(a), a, func(o map[string]any) { meta(o)["finalizers"] = []any{"example.com/f", "example.com/g"} })
	s.edit("take the finalizer away", s.path(a), a, func(o map[string]any) { delete(meta(o), "finalizers") })
	del("if it is there still", "?gracePeriodSeconds=0", "")
	s.look("gone", s.path(a))
	for _, n := range []string{"p", "q", "r"} {
		s.send("create "+n, "POST", s.collection(), s.labelled(s.many(a, n), map[string]any{"del": s.slug, "one": n}))
	}
	mine := "?labelSelector=" + url.QueryEscape("del="+s.slug)
	del2 := func(name, query, body string) {
		s.add(Step{Name: name, Method: "DELETE", Path: s.collection() + mine + query, Header: jsonBody(), Body: []byte(body)})
	}
	del2("the collection, dry", "&dryRun=All", "")
	del2("the collection with a bad selector", "&fieldSelector=a%3Db", "")
	del2("the collection with preconditions", "", options(`"preconditions":{"uid":"x"}`))
	del2("one of the collection", ",one%3Dp", "")
	del2("a page of the collection", "&limit=1", "")
	del2("the collection", "", "")
	del2("the collection when it is empty", "", "")
	s.get("what is left", s.collection()+mine)
}
