package differential

// subresources tries what lies below an object.
func subresources(s *story) {
	a := s.base
	s.create("create", a)
	for _, sub := range append(inOrder(s.k.Subresources), "nothing", "status/x") {
		path := s.path(a) + "/" + sub
		if sub == "log" || sub == "proxy" || sub == "exec" || sub == "attach" || sub == "portforward" {
			continue // those of pods have steps of their own
		}
		s.get("get "+sub, path)
		s.get("get as a table "+sub, path+"?pretty=0")
		s.get(sub+" of what is not there", s.path("nothing")+"/"+sub)
		s.add(Step{Name: "delete " + sub, Method: "DELETE", Path: path})
		s.send("post to "+sub, "POST", path, "{}")
		s.send("put nothing to "+sub, "PUT", path, "{}")
		s.edit("put "+sub, path, a, relabel(sub))
		s.edit("put of an old version to "+sub, path, a, func(o map[string]any) { meta(o)["resourceVersion"] = "1" })
		s.patch("merge "+sub, path, mergePatch, `{"metadata":{"labels":{"merged":"yes"},"annotations":{"a":"b"}}}`)
		s.patch("json "+sub, path, jsonPatch, `[{"op":"add","path":"/metadata/annotations","value":{"c":"d"}}]`)
		s.patch("merge spec and status by "+sub, path, mergePatch, `{"spec":{"replicas":3,"unknown":1},"status":{"phase":"Running","observedGeneration":9,"replicas":2,"conditions":[{"type":"T","status":"True","lastTransitionTime":"2001-01-01T00:00:00Z","reason":"R","message":"m"}]}}`)
		s.settle("merge spec and status by "+sub, s.path(a))
		s.patch("dry "+sub, path+"?dryRun=All", mergePatch, `{"metadata":{"labels":{"dry":"yes"}}}`)
		s.add(Step{Name: "table of " + sub, Method: "GET", Path: path, Header: map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}})
		s.add(Step{Name: "protobuf of " + sub, Method: "GET", Path: path, Header: map[string]string{"Accept": protobufType}})
		s.add(Step{Name: "metadata of " + sub, Method: "GET", Path: path, Header: map[string]string{"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}})
	}
	if _, ok := s.k.Subresources["scale"]; ok {
		scales(s)
	}
	switch s.k.Resource {
	case "pods":
		podSubresources(s)
	case "namespaces":
		s.send("finalize", "PUT", s.path(a)+"/finalize", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": s.k.ObjectName(a)}, "spec": map[string]any{"finalizers": []any{"example.com/f"}}})
		s.remove("delete", s.path(a))
		s.send("create in what ends", "POST", "/api/v1/namespaces/"+s.k.ObjectName(a)+"/configmaps", map[string]any{"metadata": map[string]any{"name": "a"}})
	case "serviceaccounts":
		tokens(s)
	case "nodes", "services":
		for _, path := range []string{"/proxy", "/proxy/", "/proxy/x?y=z"} {
			s.get("proxy "+path, s.path("nothing")+path)
		}
	}
	s.get("after all that", s.path(a))
}

func scales(s *story) {
	path := s.path(s.base) + "/scale"
	scale := func(replicas any, more map[string]any) map[string]any {
		out := map[string]any{"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": map[string]any{"name": s.k.ObjectName(s.base), "namespace": s.ns}, "spec": map[string]any{"replicas": replicas}}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	s.send("scale to 3", "PUT", path, scale(3, nil))
	s.send("scale to -1", "PUT", path, scale(-1, nil))
	s.send("scale to a text", "PUT", path, scale("x", nil))
	s.send("scale another name", "PUT", path, scale(3, map[string]any{"metadata": map[string]any{"name": "other", "namespace": s.ns}}))
	s.send("scale an old version", "PUT", path, scale(3, map[string]any{"metadata": map[string]any{"name": s.k.ObjectName(s.base), "namespace": s.ns, "resourceVersion": "1"}}))
	s.send("scale of another uid", "PUT", path, scale(3, map[string]any{"metadata": map[string]any{"name": s.k.ObjectName(s.base), "namespace": s.ns, "uid": "x"}}))
	s.send("scale as another kind", "PUT", path, scale(3, map[string]any{"apiVersion": "v1"}))
	s.patch("scale by a merge", path, mergePatch, `{"spec":{"replicas":4}}`)
	s.patch("scale by json", path, jsonPatch, `[{"op":"replace","path":"/spec/replicas","value":5}]`)
	s.patch("scale strategically", path, strategicPatch, `{"spec":{"replicas":6}}`)
	s.patch("scale by apply", path+"?fieldManager=scaler&force=true", applyPatch, scale(7, map[string]any{"metadata": map[string]any{"name": s.k.ObjectName(s.base)}}))
	s.patch("scale by a dry merge", path+"?dryRun=All", mergePatch, `{"spec":{"replicas":8}}`)
	s.patch("scale with an unknown field", path+"?fieldValidation=Strict", mergePatch, `{"spec":{"replicas":9,"x":1}}`)
}

func podSubresources(s *story) {
	a := s.base
	p := s.path(a)
	for _, q := range []string{"", "?container=c", "?container=x", "?tailLines=-1", "?tailLines=x", "?limitBytes=0", "?sinceSeconds=0", "?sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z", "?previous=true", "?follow=x", "?timestamps=true", "?stream=Stdout", "?stream=Other"} {
		s.get("log "+q, p+"/log"+q)
	}
	s.get("log of what is not there", s.path("nothing")+"/log")
	for _, sub := range []string{"exec", "attach", "portforward"} {
		s.get(sub+" without an upgrade", p+"/"+sub+"?command=x&container=c&stdout=true&ports=80")
		s.send(sub+" by post", "POST", p+"/"+sub+"?command=x&container=c&stdout=true&ports=80", "")
		s.send(sub+" by put", "PUT", p+"/"+sub, "")
		s.get(sub+" of what is not there", s.path("nothing")+"/"+sub+"?command=x")
		s.get(sub+" of a container that is not there", p+"/"+sub+"?command=x&container=x&stdout=true")
		s.get(sub+" of nothing", p+"/"+sub)
	}
	s.get("proxy", p+"/proxy")
	s.get("proxy of what is not there", s.path("nothing")+"/proxy/x")
	binding := func(target map[string]any) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": a, "namespace": s.ns}, "target": target}
	}
	s.send("bind to nothing", "POST", p+"/binding", binding(map[string]any{}))
	s.send("bind to a pod", "POST", p+"/binding", binding(map[string]any{"kind": "Pod", "name": "x"}))
	s.send("bind what is not there", "POST", s.path("nothing")+"/binding", binding(map[string]any{"kind": "Node", "name": "n"}))
	s.send("bind by another name", "POST", p+"/binding", func() map[string]any {
		b := binding(map[string]any{"kind": "Node", "name": "n"})
		b["metadata"] = map[string]any{"name": "other"}
		return b
	}())
	s.send("bind dry", "POST", p+"/binding?dryRun=All", binding(map[string]any{"kind": "Node", "name": "n"}))
	s.send("bind", "POST", p+"/binding", binding(map[string]any{"kind": "Node", "name": "n"}))
	s.send("bind again", "POST", p+"/binding", binding(map[string]any{"kind": "Node", "name": "m"}))
	s.send("bind by the collection", "POST", "/api/v1/namespaces/"+s.ns+"/bindings", binding(map[string]any{"kind": "Node", "name": "m"}))
	s.get("log on a node that is not there", p+"/log")
	s.get("exec on a node that is not there", p+"/exec?command=x&container=c&stdout=true")
	s.edit("a debug container", p+"/ephemeralcontainers", a, func(o map[string]any) {
		spec, _ := o["spec"].(map[string]any)
		if spec != nil {
			spec["ephemeralContainers"] = []any{map[string]any{"name": "debug", "image": "registry.example/d:1"}}
		}
	})
	s.patch("another debug container", p+"/ephemeralcontainers", strategicPatch, `{"spec":{"ephemeralContainers":[{"name":"debug2","image":"registry.example/d:2","targetContainerName":"x"}]}}`)
	s.patch("a debug container changed", p+"/ephemeralcontainers", strategicPatch, `{"spec":{"ephemeralContainers":[{"name":"debug","image":"registry.example/d:3"}]}}`)
	s.patch("resize", p+"/resize", strategicPatch, `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"20m"}}}]}}`)
	s.patch("resize what cannot be", p+"/resize", strategicPatch, `{"spec":{"containers":[{"name":"c","image":"other"}]}}`)
	s.patch("running", p+"/status", strategicPatch, `{"status":{"phase":"Running","podIP":"10.1.1.1","podIPs":[{"ip":"10.1.1.1"}],"conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"name":"c","ready":true,"restartCount":0,"image":"x","imageID":"y"}]}}`)
	eviction := func(more map[string]any) map[string]any {
		out := map[string]any{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": a, "namespace": s.ns}}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	s.send("evict by another name", "POST", p+"/eviction", eviction(map[string]any{"metadata": map[string]any{"name": "x"}}))
	s.send("evict what is not there", "POST", s.path("nothing")+"/eviction", eviction(map[string]any{"metadata": map[string]any{"name": "nothing"}}))
	s.send("evict by an old version of the API", "POST", p+"/eviction", eviction(map[string]any{"apiVersion": "policy/v1beta1"}))
	s.send("evict by another uid", "POST", p+"/eviction", eviction(map[string]any{"deleteOptions": map[string]any{"preconditions": map[string]any{"uid": "x"}}}))
	s.send("evict dry", "POST", p+"/eviction?dryRun=All", eviction(nil))
	s.send("evict", "POST", p+"/eviction", eviction(nil))
	s.get("evicted", p)
	s.send("evict again", "POST", p+"/eviction", eviction(map[string]any{"deleteOptions": map[string]any{"gracePeriodSeconds": 0}}))
}

func tokens(s *story) {
	p := s.path(s.base) + "/token"
	requests := map[string]string{
		"nothing": `{}`, "an audience": `{"spec":{"audiences":["a"]}}`, "an hour": `{"spec":{"expirationSeconds":3600}}`, "a minute": `{"spec":{"expirationSeconds":60}}`, "for ever": `{"spec":{"expirationSeconds":4294967296}}`,
		"bound to a pod that is not there": `{"spec":{"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"x"}}}`, "bound to what cannot be": `{"spec":{"boundObjectRef":{"kind":"ConfigMap","apiVersion":"v1","name":"x"}}}`,
		"another name": `{"metadata":{"name":"x"}}`, "a kind": `{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1"}`, "another kind": `{"kind":"Pod","apiVersion":"v1"}`,
	}
	for _, name := range inOrder(requests) {
		s.send("token: "+name, "POST", p, requests[name])
	}
	s.send("token dry", "POST", p+"?dryRun=All", `{}`)
	s.send("token for what is not there", "POST", s.path("nothing")+"/token", `{}`)
}
