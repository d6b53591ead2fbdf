package differential

import "net/url"

// watches tries what a watch can be asked for. All changes are made first.
func watches(s *story) {
	a := s.base
	mine := "labelSelector=" + url.QueryEscape("watch="+s.slug)
	other := map[string]any{"watch": "no"}
	own := func() map[string]any { return map[string]any{"watch": s.slug} }
	s.mark("where it begins", s.collection()+"?"+mine)
	s.send("create", "POST", s.collection(), s.labelled(a, own()))
	s.edit("change", s.path(a), a, relabel("1"))
	s.edit("change to what is not selected", s.path(a), a, func(o map[string]any) { meta(o)["labels"] = other })
	s.edit("change what is not selected", s.path(a), a, func(o map[string]any) { meta(o)["labels"] = map[string]any{"watch": "no", "x": "y"} })
	s.edit("change to what is selected", s.path(a), a, func(o map[string]any) { meta(o)["labels"] = own() })
	s.patch("add a finalizer", s.path(a), mergePatch, `{"metadata":{"finalizers":["example.com/f"]}}`)
	s.remove("delete", s.path(a)+"?gracePeriodSeconds=0")
	s.patch("take the finalizer away", s.path(a), jsonPatch, `[{"op":"remove","path":"/metadata/finalizers"}]`)
	s.send("create another", "POST", s.collection(), s.labelled(s.many(a, "z"), own()))
	watch := func(name, query, accept string) {
		header := map[string]string{}
		if accept != "" {
			header["Accept"] = accept
		}
		s.add(Step{Name: name, Method: "GET", Path: s.collection() + "?watch=true&timeoutSeconds=5&" + query, Header: header, Watch: true})
	}
	from := "resourceVersion=${rv}&"
	watch("with a selector", from+mine, "")
	if s.k.Namespaced {
		watch("all", from, "")
		s.add(Step{Name: "one, by the path of a watch", Method: "GET", Path: s.k.Root() + "/watch/namespaces/" + s.ns + "/" + s.k.Resource + "/" + s.k.ObjectName(a) + "?timeoutSeconds=5&resourceVersion=${rv}", Watch: true})
		s.add(Step{Name: "all, by the path of a watch", Method: "GET", Path: s.k.Root() + "/watch/" + s.k.Resource + "?timeoutSeconds=5&resourceVersion=${rv}&" + mine, Watch: true})
	} else {
		s.add(Step{Name: "one, by the path of a watch", Method: "GET", Path: s.k.Root() + "/watch/" + s.k.Resource + "/" + s.k.ObjectName(a) + "?timeoutSeconds=5&resourceVersion=${rv}", Watch: true})
	}
	watch("by a name", from+"fieldSelector="+url.QueryEscape("metadata.name="+s.k.ObjectName(a)), "")
	watch("initial events", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&"+mine, "")
	watch("initial events from 0", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0&allowWatchBookmarks=true&"+mine, "")
	watch("initial events without bookmarks", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&"+mine, "")
	watch("initial events without a match", "sendInitialEvents=true&"+mine, "")
	watch("no initial events", "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&"+mine, "")
	watch("an exact match", from+"resourceVersionMatch=Exact&"+mine, "")
	watch("a match without initial events", from+"resourceVersionMatch=NotOlderThan&"+mine, "")
	watch("from 0", "resourceVersion=0&"+mine, "")
	watch("from nowhere", mine, "")
	watch("from 1", "resourceVersion=1&"+mine, "")
	watch("from a revision that is none", "resourceVersion=x&"+mine, "")
	watch("with a limit", from+"limit=1&"+mine, "")
	watch("with a token", from+"continue=x&"+mine, "")
	watch("with a bad selector", from+"labelSelector=a%20b", "")
	watch("with a field nobody knows", from+"fieldSelector=a%3Db", "")
	for _, accept := range []string{yamlType, protobufType, cborType, "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch", "application/json;stream=other", "text/html", "application/cbor-seq"} {
		watch("as "+accept, from+mine, accept)
	}
	watch("initial events as a table", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&"+mine, "application/json;as=Table;v=v1;g=meta.k8s.io")
	watch("initial events as metadata", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&"+mine, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
	watch("initial events as protobuf", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&"+mine, protobufType)
	s.add(Step{Name: "a watch of one", Method: "GET", Path: s.path(s.many(a, "z")) + "?watch=true&timeoutSeconds=5&resourceVersion=${rv}", Watch: true})
	s.add(Step{Name: "a head of a watch", Method: "HEAD", Path: s.collection() + "?watch=true&timeoutSeconds=1"})
	s.send("a post of a watch", "POST", s.k.Root()+"/watch/"+s.k.Resource, s.object(a))
	s.add(Step{Name: "negative time", Method: "GET", Path: s.collection() + "?watch=true&timeoutSeconds=-1&" + from + mine, Watch: true})
}
