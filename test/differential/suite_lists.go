package differential

import "net/url"

// lists tries what a list can be asked for.
func lists(s *story) {
	a := s.base
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		s.send("create "+name, "POST", s.collection(), s.labelled(s.many(a, name), map[string]any{"list": s.slug, "name": name, "half": []string{"x", "y"}[i%2]}))
	}
	mine := "labelSelector=" + url.QueryEscape("list="+s.slug)
	s.get("all of them", s.collection()+"?"+mine)
	s.get("the first page", s.collection()+"?limit=2&"+mine)
	s.get("the second page", s.collection()+"?limit=2&"+mine+"&continue=${continue}")
	s.get("the second page with another limit", s.collection()+"?limit=1&"+mine+"&continue=${continue}")
	s.get("the rest", s.collection()+"?"+mine+"&continue=${continue}")
	s.get("a page and a revision", s.collection()+"?limit=2&"+mine+"&continue=${continue}&resourceVersion=1")
	s.get("a page and revision 0", s.collection()+"?limit=2&"+mine+"&continue=${continue}&resourceVersion=0")
	s.get("a page and a match", s.collection()+"?limit=2&"+mine+"&continue=${continue}&resourceVersionMatch=Exact")
	s.mark("the list for the revision", s.collection()+"?"+mine)
	for _, match := range []string{"", "Exact", "NotOlderThan", "Other"} {
		for _, rv := range []string{"", "0", "1", "${rv}", "99999999", "x", "-1"} {
			q := "?" + mine
			if rv != "" {
				q += "&resourceVersion=" + rv
			}
			if match != "" {
				q += "&resourceVersionMatch=" + match
			}
			future := rv == "99999999" // which takes three seconds
			if !future || s.k.Resource == "pods" {
				s.get("revision "+rv+" match "+match, s.collection()+q)
			}
			if !future {
				s.get("limited revision "+rv+" match "+match, s.collection()+q+"&limit=2")
			}
		}
	}
	for _, limit := range []string{"0", "-1", "x", "1.5", "99999999999999999999", "5", "6"} {
		s.get("limit "+limit, s.collection()+"?limit="+limit+"&"+mine)
	}
	for _, token := range []string{"x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4In0", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJ4In0", "eyJ2Ijoib3RoZXIiLCJydiI6MX0", "%20"} {
		s.get("token "+token, s.collection()+"?limit=1&continue="+token)
	}
	own := func(selector string) string { return "list=" + s.slug + "," + selector }
	for _, selector := range []string{
		own("name=a"), own("name==b"), own("name!=a"), own("name in (a,b)"), own("name notin (a,b)"), own("name"), own("!name"), own("half=x,name!=a"),
		"name=", "=a", "a b", "name in ()", "name in (a", "!", ",", "UPPER=a", "a=" + "-", "name>1", own("name>1"), "a=b=c", "x/y/z=1", " " + own("name = a ") + " ",
	} {
		s.get("label selector "+selector, s.collection()+"?labelSelector="+url.QueryEscape(selector))
	}
	first := s.k.ObjectName(s.many(a, "a"))
	for _, selector := range []string{
		"metadata.name=" + first, "metadata.name!=" + first, "metadata.name=nothing", "metadata.namespace=" + s.ns, "metadata.namespace=other", "metadata.name", "spec.nodeName=", "spec.nodeName=n", "status.phase=Pending",
		"type=Opaque", "metadata.uid=x", "metadata.labels.a=b", "=", "a=b", "metadata.name=" + first + ",metadata.name=other", "spec.unschedulable=false", "reason=Tested", "spec.restartPolicy=Always", "status.successful=0", "involvedObject.kind=Pod", "spec.signerName=example.com/signer",
		`metadata.name=a\,b`, `metadata.name=a\b`,
	} {
		s.get("field selector "+selector, s.collection()+"?"+mine+"&fieldSelector="+url.QueryEscape(selector))
	}
	for _, q := range []string{"sendInitialEvents=true", "sendInitialEvents=false", "allowWatchBookmarks=true", "timeoutSeconds=1", "timeoutSeconds=-1", "timeoutSeconds=x", "unknown=1", "watch=false", "limit=1&limit=2", "includeObject=x", "shardSelector=x"} {
		s.get("list with "+q, s.collection()+"?"+mine+"&"+q)
	}
	s.add(Step{Name: "a list that is a watch for any other word", Method: "GET", Path: s.collection() + "?" + mine + "&watch=x&timeoutSeconds=5", Watch: true})
	if s.k.Namespaced {
		s.get("in all namespaces", s.k.Path("")+"?"+mine)
		s.get("pages of all namespaces", s.k.Path("")+"?limit=2&"+mine)
		s.get("more of all namespaces", s.k.Path("")+"?limit=2&"+mine+"&continue=${continue}")
		s.get("in a namespace that is not there", s.k.Path("nowhere"))
		s.get("in a namespace with a bad name", s.k.Path("No_Where"))
		s.get("one in a namespace that is not there", s.k.Path("nowhere")+"/a")
		s.get("without limits", s.collection())
		s.add(Step{Name: "a table of it", Method: "GET", Path: s.collection() + "?limit=2", Header: map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}})
		s.add(Step{Name: "nothing as a table", Method: "GET", Path: s.k.Path("nowhere"), Header: map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}})
		s.add(Step{Name: "nothing as protobuf", Method: "GET", Path: s.k.Path("nowhere"), Header: map[string]string{"Accept": protobufType}})
		s.add(Step{Name: "nothing as yaml", Method: "GET", Path: s.k.Path("nowhere"), Header: map[string]string{"Accept": yamlType}})
	}
	s.remove("delete the second", s.path(s.many(a, "b")))
	s.edit("change the third", s.path(s.many(a, "c")), s.many(a, "c"), relabel("1"))
	s.get("exactly as it was", s.collection()+"?"+mine+"&resourceVersionMatch=Exact&resourceVersion=${rv}")
	s.get("a page", s.collection()+"?limit=2&"+mine)
	s.remove("delete the last", s.path(s.many(a, "e")))
	s.get("the next page is as it was", s.collection()+"?limit=5&"+mine+"&continue=${continue}")
}

// many names one of several objects.
func (s *story) many(base, name string) string { return base + "-l-" + name }
