package differential

import (
	"fmt"
	"net/http"
	"strings"
)

// global are the scenarios that are about no kind.
func global(o Options) []*Scenario {
	return []*Scenario{paths(), methods(), bootstrap(), reviews(o), impersonation(o), escalation(o), hugeBodies(o)}
}

// paths asks for what may be there and what is not.
func paths() *Scenario {
	s := &Scenario{Name: "paths/server", Whole: true}
	for _, p := range []string{
		"/", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v2", "/apis", "/apis/", "/apis/apps", "/apis/apps/", "/apis/apps/v1", "/apis/apps/v1/", "/apis/apps/v9", "/apis/none", "/apis/none/v1", "/apis/none/v1/things",
		"/version", "/version/", "/version/x", "/healthz", "/livez", "/readyz", "/healthz/ping", "/livez/ping", "/readyz/ping", "/readyz/none", "/livez?verbose", "/readyz?exclude=ping", "/healthz/", "/metrics", "/metrics/", "/metrics/slis",
		"/logs", "/logs/", "/debug/pprof", "/debug/pprof/", "/debug/flags/v", "/swagger.json", "/swaggerapi", "/ui", "/openapi", "/openapi/", "/openapi/v2", "/openapi/v2/", "/openapi/v3", "/openapi/v3/", "/openapi/v3/api", "/openapi/v3/api/v1", "/openapi/v3/apis/none", "/openapi/v1",
		"/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/", "/openid/v1/none", "/statusz", "/flagz", "/none", "/none/none", "/favicon.ico", "/index.html", "/robots.txt", "//", "//api", "/api//v1", "/api/v1//pods", "/api/v1/../v1/pods",
		"/api/v1/%70ods?limit=1&fieldSelector=metadata.name%3Dnone", "/api/v1/namespaces/default/pods/a%2Fb", "/api/v1/namespaces/default/pods/a%2fb/status", "/api/v1/namespaces/default%2Fpods", "/api/v1/none", "/api/v1/none/x", "/api/v1/namespaces/default/none", "/api/v1/namespaces/default/none/x",
		"/api/v1/pods/x", "/api/v1/pods/x/status", "/api/v1/namespaces/default/nodes", "/api/v1/namespaces/default/nodes/x", "/apis/apps/v1/pods", "/api/v1/deployments", "/api/v1/watch", "/api/v1/watch/none", "/api/v1/watch/namespaces/default", "/api/v1/watch/componentstatuses", "/apis/authorization.k8s.io/v1/watch/selfsubjectaccessreviews", "/api/v1/proxy/nodes/x", "/api/v1/redirect/nodes/x", "/api/v1/namespaces/default/pods/x/none", "/api/v1/namespaces/default/pods/x/status/more",
		"/api/v1/namespaces/default/pods/x/log/more", "/api/v1/namespaces/default/", "/api/v1/namespaces//pods?limit=1", "/api/v1/pods/?limit=1&labelSelector=none", "/api/v1/namespaces/default/pods/?labelSelector=none", "/api/v1/namespaces/default/pods//", "/api/v1/namespaces/none/status", "/api/v1/namespaces/default/status", "/api/v1/namespaces/default/finalize",
		"/api/v1/componentstatuses/none", "/apis/extensions", "/apis/extensions/v1beta1/ingresses", "/apis/apps/v1beta1", "/api/v1/bindings", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x", "/apis/authentication.k8s.io/v1/tokenreviews",
	} {
		opaque := strings.HasPrefix(p, "/metrics") || strings.HasPrefix(p, "/openapi/v") || strings.HasPrefix(p, "/logs") || strings.HasPrefix(p, "/debug") || strings.HasPrefix(p, "/statusz") || strings.HasPrefix(p, "/flagz") || strings.HasPrefix(p, "/openid/v1/jwks")
		s.add(Step{Name: "get " + p, Method: "GET", Path: p, Opaque: opaque})
		s.add(Step{Name: "get as nobody " + p, Method: "GET", Path: p, User: Anonymous, Opaque: opaque})
		s.add(Step{Name: "head " + p, Method: "HEAD", Path: p})
		s.add(Step{Name: "post " + p, Method: "POST", Path: p, Header: jsonBody(), Body: []byte("{}"), Opaque: opaque})
		s.add(Step{Name: "options " + p, Method: "OPTIONS", Path: p, Header: map[string]string{"Origin": "https://example.com", "Access-Control-Request-Method": "GET"}, Opaque: opaque})
	}
	return s
}

// methods asks with those that there are, and others.
func methods() *Scenario {
	s := &Scenario{Name: "methods/server", Whole: true}
	for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "get", "PROPFIND"} {
		for _, p := range []string{"/", "/api", "/apis/apps/v1", "/version", "/healthz", "/readyz", "/openapi/v2", "/openapi/v3", "/metrics", "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/configmaps/none", "/api/v1/configmaps", "/api/v1/namespaces/none/status", "/api/v1/namespaces/default/pods/none/status", "/api/v1/namespaces/default/pods/none/log",
			"/api/v1/namespaces/default/pods/none/exec", "/api/v1/namespaces/default/pods/none/eviction", "/api/v1/namespaces/default/pods/none/binding", "/api/v1/watch/pods", "/api/v1/nodes/none/proxy", "/apis/apps/v1/namespaces/default/deployments/none/scale", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "/none"} {
			if m == "GET" && p == "/api/v1/watch/pods" || m == "DELETE" && p == "/api/v1/namespaces/default/configmaps" {
				continue
			}
			s.add(Step{Name: m + " " + p, Method: m, Path: p, Unmanaged: true, Opaque: strings.HasPrefix(p, "/openapi") || p == "/metrics"})
		}
	}
	return s
}

// bootstrap looks at what a cluster has from the start.
func bootstrap() *Scenario {
	s := &Scenario{Name: "bootstrap/server", Whole: true}
	for _, p := range []string{
		"/api/v1/namespaces/default", "/api/v1/namespaces/kube-system", "/api/v1/namespaces/kube-public", "/api/v1/namespaces/kube-node-lease", "/api/v1/namespaces/default/services/kubernetes", "/api/v1/namespaces/default/endpoints/kubernetes",
		"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes", "/apis/scheduling.k8s.io/v1/priorityclasses", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		"/apis/rbac.authorization.k8s.io/v1/roles", "/apis/rbac.authorization.k8s.io/v1/rolebindings", "/api/v1/configmaps", "/api/v1/secrets", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
		"/apis/networking.k8s.io/v1/servicecidrs", "/apis/networking.k8s.io/v1/ipaddresses", "/apis/coordination.k8s.io/v1/leases", "/apis/apiregistration.k8s.io/v1/apiservices", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
		"/api/v1/namespaces", "/api/v1/services", "/api/v1/events", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", "/apis/storage.k8s.io/v1/storageclasses", "/api/v1/componentstatuses",
	} {
		// What is there from the start has managers upstream only (bootstrap-managers).
		s.add(Step{Name: "get " + p, Method: "GET", Path: p, Unmanaged: true})
		s.add(Step{Name: "table of " + p, Method: "GET", Path: p, Unmanaged: true, Header: map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}})
	}
	return s
}

// reviews asks who may.
func reviews(o Options) *Scenario {
	s := &Scenario{Name: "reviews/server", Whole: true}
	post := func(name, user, resource, body string) {
		s.add(Step{Name: name, User: user, Method: "POST", Path: "/apis/" + resource, Header: jsonBody(), Body: []byte(body)})
	}
	attrs := `{"verb":"get","resource":"pods","namespace":"default"}`
	for _, user := range []string{"", "nobody-here", Anonymous} {
		who := or(user, "admin")
		post(who+": may I", user, "authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":`+attrs+`}}`)
		post(who+": may I, by path", user, "authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"nonResourceAttributes":{"path":"/metrics","verb":"get"}}}`)
		post(who+": may I both", user, "authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":`+attrs+`,"nonResourceAttributes":{"path":"/x"}}}`)
		post(who+": may I nothing", user, "authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{}}`)
		post(who+": who am I", user, "authentication.k8s.io/v1/selfsubjectreviews", `{}`)
		post(who+": my rules", user, "authorization.k8s.io/v1/selfsubjectrulesreviews", `{"spec":{"namespace":"default"}}`)
		post(who+": my rules nowhere", user, "authorization.k8s.io/v1/selfsubjectrulesreviews", `{"spec":{}}`)
		post(who+": may jane", user, "authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"user":"jane","groups":["system:masters"],"resourceAttributes":`+attrs+`}}`)
		post(who+": may nobody", user, "authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"resourceAttributes":`+attrs+`}}`)
		post(who+": may jane here", user, "authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews", `{"metadata":{"namespace":"default"},"spec":{"user":"jane","resourceAttributes":`+attrs+`}}`)
		post(who+": may jane elsewhere", user, "authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews", `{"metadata":{"namespace":"default"},"spec":{"user":"jane","resourceAttributes":{"verb":"get","resource":"pods","namespace":"other"}}}`)
		post(who+": whose token", user, "authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"none"}}`)
		post(who+": no token", user, "authentication.k8s.io/v1/tokenreviews", `{"spec":{}}`)
	}
	post("fields and labels", "", "authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"spec.nodeName","operator":"In","values":["n"]}]},"labelSelector":{"rawSelector":"a=b"}}}}`)
	post("bad fields", "", "authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"","operator":"Other"}],"rawSelector":"x"}}}}`)
	post("metadata", "", "authorization.k8s.io/v1/selfsubjectaccessreviews", `{"metadata":{"name":"x"},"spec":{"resourceAttributes":`+attrs+`}}`)
	post("dry", "", "authorization.k8s.io/v1/selfsubjectaccessreviews?dryRun=All", `{"spec":{"resourceAttributes":`+attrs+`}}`)
	post("another kind", "", "authorization.k8s.io/v1/selfsubjectaccessreviews", `{"kind":"Pod","apiVersion":"v1"}`)
	post("an unknown field", "", "authorization.k8s.io/v1/selfsubjectaccessreviews?fieldValidation=Strict", `{"spec":{"resourceAttributes":`+attrs+`,"x":1}}`)
	s.add(Step{Name: "as protobuf", Method: "POST", Path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Header: map[string]string{"Accept": protobufType, "Content-Type": "application/json"}, Body: []byte(`{"spec":{"resourceAttributes":` + attrs + `}}`)})
	s.add(Step{Name: "as a table", Method: "POST", Path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Header: map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io", "Content-Type": "application/json"}, Body: []byte(`{"spec":{"resourceAttributes":` + attrs + `}}`)})
	return s
}

// impersonation speaks as somebody else.
func impersonation(Options) *Scenario {
	s := &Scenario{Name: "impersonation/server"}
	const who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	as := func(name string, header map[string]string) {
		header["Content-Type"] = "application/json"
		s.add(Step{Name: name, Method: "POST", Path: who, Header: header, Body: []byte(`{}`)})
	}
	as("a user", map[string]string{"Impersonate-User": "jane"})
	as("a user with a group", map[string]string{"Impersonate-User": "jane", "Impersonate-Group": "dev"})
	as("a group alone", map[string]string{"Impersonate-Group": "dev"})
	as("a uid", map[string]string{"Impersonate-User": "jane", "Impersonate-Uid": "1"})
	as("a uid alone", map[string]string{"Impersonate-Uid": "1"})
	as("extra", map[string]string{"Impersonate-User": "jane", "Impersonate-Extra-Scopes": "view"})
	as("extra with an encoded key", map[string]string{"Impersonate-User": "jane", "Impersonate-Extra-Acme.com%2fproject": "x"})
	as("a service account", map[string]string{"Impersonate-User": "system:serviceaccount:default:a"})
	as("anonymous", map[string]string{"Impersonate-User": "system:anonymous"})
	as("a node", map[string]string{"Impersonate-User": "system:node:n", "Impersonate-Group": "system:nodes"})
	as("nobody", map[string]string{"Impersonate-User": ""})
	as("a bad token", map[string]string{"Authorization": "Bearer none"})
	as("basic", map[string]string{"Authorization": "Basic YTpi"})
	strangers := map[string]map[string]string{
		"a bad token": {"Authorization": "Bearer none"}, "an empty token": {"Authorization": "Bearer "}, "basic": {"Authorization": "Basic YTpi"}, "no scheme": {"Authorization": "x"}, "a user": {"Impersonate-User": "jane"},
	}
	for _, name := range inOrder(strangers) {
		s.add(Step{Name: "nobody: " + name, User: Anonymous, Method: "GET", Path: "/api/v1/pods", Header: strangers[name]})
		s.add(Step{Name: "nobody, version: " + name, User: Anonymous, Method: "GET", Path: "/version", Header: strangers[name], Opaque: true})
	}
	s.add(Step{Name: "one who may not", User: "jane", Method: "POST", Path: who, Header: map[string]string{"Impersonate-Group": "system:masters", "Content-Type": "application/json"}, Body: []byte(`{}`)})
	return s
}

// escalation gives away what one does not have.
func escalation(o Options) *Scenario {
	s := &Scenario{Name: "escalation/server"}
	p := o.Prefix + "-esc"
	const root = "/apis/rbac.authorization.k8s.io/v1"
	rule := func(verbs, resources string) string {
		return fmt.Sprintf(`[{"apiGroups":[""],"resources":[%q],"verbs":[%q]}]`, resources, verbs)
	}
	role := func(name, rules string) string {
		return fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":%q},"rules":%s}`, name, rules)
	}
	bind := func(name, role, user string) string {
		return fmt.Sprintf(`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":%q},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":%q},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":%q}]}`, name, role, user)
	}
	s.send("a role to make roles", "POST", root+"/clusterroles", role(p+"-rbac", `[{"apiGroups":["rbac.authorization.k8s.io"],"resources":["*"],"verbs":["create","update","patch","get","delete"]},{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]`))
	s.send("its binding", "POST", root+"/clusterrolebindings", bind(p+"-rbac", p+"-rbac", p+"-user"))
	as := func(name, method, path, contentType, body string) {
		s.add(Step{Name: name, User: p + "-user", Method: method, Path: path, Header: map[string]string{"Content-Type": contentType}, Body: []byte(body)})
	}
	as("a role of what one has", "POST", root+"/clusterroles", "application/json", role(p+"-pods", rule("get", "pods")))
	// Upstream's authorizer hears of a binding a moment after it is written.
	s.Steps[len(s.Steps)-1].Await = &Step{User: p + "-user", Method: "GET", Path: root + "/clusterroles/none", Until: func(code int, _ any) bool { return code != http.StatusForbidden }}
	as("a role of more", "POST", root+"/clusterroles", "application/json", role(p+"-secrets", rule("get", "secrets")))
	as("a role of everything", "POST", root+"/clusterroles", "application/json", role(p+"-all", rule("*", "*")))
	as("a role grows", "PATCH", root+"/clusterroles/"+p+"-pods", mergePatch, `{"rules":`+rule("*", "pods")+`}`)
	as("a role grows by apply", "PATCH", root+"/clusterroles/"+p+"-pods?fieldManager=m&force=true", applyPatch, role(p+"-pods", rule("list", "pods")))
	as("a binding to what one has", "POST", root+"/clusterrolebindings", "application/json", bind(p+"-b1", p+"-pods", "x"))
	as("a binding to more", "POST", root+"/clusterrolebindings", "application/json", bind(p+"-b2", "cluster-admin", "x"))
	as("a binding to nothing", "POST", root+"/clusterrolebindings", "application/json", bind(p+"-b3", p+"-none", "x"))
	as("a binding in a namespace", "POST", root+"/namespaces/default/rolebindings", "application/json", strings.Replace(bind(p+"-b4", "admin", "x"), "ClusterRoleBinding", "RoleBinding", 1))
	as("an aggregated role", "POST", root+"/clusterroles", "application/json", `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"`+p+`-agg"},"aggregationRule":{"clusterRoleSelectors":[{"matchLabels":{"a":"b"}}]}}`)
	s.send("change the reference of a binding", "PUT", root+"/clusterrolebindings/"+p+"-b1", bind(p+"-b1", "view", "x"))
	return s
}

// hugeBodies are at and beyond the limits.
func hugeBodies(o Options) *Scenario {
	s := &Scenario{Name: "huge/server"}
	cm := func(size int) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + o.Prefix + `-huge"},"data":{"a":"` + strings.Repeat("x", size) + `"}}`
	}
	for _, size := range []int{1 << 20, 1<<20 + 1, 2 << 20, 3<<20 - 200, 3 << 20, 4 << 20} {
		s.send(fmt.Sprintf("create of %d", size), "POST", "/api/v1/namespaces/default/configmaps?dryRun=All", cm(size))
	}
	s.patch("a huge patch", "/api/v1/namespaces/default/configmaps/none", mergePatch, `{"data":{"a":"`+strings.Repeat("x", 4<<20)+`"}}`)
	s.add(Step{Name: "huge delete options", Method: "DELETE", Path: "/api/v1/namespaces/default/configmaps/none", Header: jsonBody(), Body: []byte(`{"kind":"DeleteOptions","apiVersion":"v1","x":"` + strings.Repeat("x", 4<<20) + `"}`)})
	s.get("a long query", "/api/v1/configmaps?labelSelector="+strings.Repeat("a", 20000))
	s.get("a long path", "/api/v1/namespaces/"+strings.Repeat("a", 20000)+"/configmaps")
	s.add(Step{Name: "a long header", Method: "GET", Path: "/api/v1/namespaces/default", Header: map[string]string{"X-Long": strings.Repeat("a", 60000)}})
	s.add(Step{Name: "a gzipped body", Method: "POST", Path: "/api/v1/namespaces/default/configmaps?dryRun=All", Header: map[string]string{"Content-Type": "application/json", "Content-Encoding": "gzip"}, Body: []byte("\x1f\x8b\x08")})
	return s
}
