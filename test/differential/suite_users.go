package differential

// usersOf lets people try who may not, or only some of it.
func usersOf(s *story) {
	a := s.base
	s.create("create", a)
	role := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": s.slug},
		"rules": []any{map[string]any{"apiGroups": []any{s.k.Group}, "resources": []any{s.k.Resource}, "verbs": []any{"get", "create"}, "resourceNames": []any{s.k.ObjectName(a)}},
			map[string]any{"apiGroups": []any{s.k.Group}, "resources": []any{s.k.Resource + "/status"}, "verbs": []any{"patch"}}}}
	s.send("a role", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", role)
	s.send("its binding", "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": s.slug},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": s.slug},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "user-" + s.slug}}})
	for _, user := range []string{Anonymous, "nobody-here", "user-" + s.slug, "system:serviceaccount:default:none", "system:node:n"} {
		who := user
		if user == "user-"+s.slug {
			who = "the user"
		}
		step := func(name, method, path string, header map[string]string, body any) {
			s.add(Step{Name: who + ": " + name, User: user, Method: method, Path: path, Header: header, Body: encode(body)})
		}
		step("get", "GET", s.path(a), nil, nil)
		step("get another", "GET", s.path("other"), nil, nil)
		step("list", "GET", s.collection(), nil, nil)
		step("list by the name", "GET", s.collection()+"?fieldSelector=metadata.name%3D"+s.k.ObjectName(a), nil, nil)
		step("watch", "GET", s.collection()+"?watch=true&timeoutSeconds=1", nil, nil)
		step("create", "POST", s.collection()+"?dryRun=All", jsonBody(), s.object(a+"-n"))
		step("update", "PUT", s.path(a)+"?dryRun=All", jsonBody(), s.object(a))
		step("patch", "PATCH", s.path(a)+"?dryRun=All", map[string]string{"Content-Type": mergePatch}, `{"metadata":{"labels":{"a":"b"}}}`)
		step("apply anew", "PATCH", s.path(a+"-n")+"?dryRun=All&fieldManager=m", map[string]string{"Content-Type": applyPatch}, s.object(a+"-n"))
		step("patch the status", "PATCH", s.path(a)+"/status?dryRun=All", map[string]string{"Content-Type": mergePatch}, `{"metadata":{"annotations":{"a":"b"}}}`)
		step("delete", "DELETE", s.path(a)+"?dryRun=All", nil, nil)
		step("delete all", "DELETE", s.collection()+"?dryRun=All", nil, nil)
		step("as a table", "GET", s.collection(), map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}, nil)
		step("as protobuf", "GET", s.collection(), map[string]string{"Accept": protobufType}, nil)
		step("below the object", "GET", s.path(a)+"/nothing", nil, nil)
	}
}
