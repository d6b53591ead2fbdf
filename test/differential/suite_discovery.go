package differential

// discoveryOf compares what both say that they serve, for the groups of kinds that
// both have.
func discoveryOf(kinds []*Kind, _ Options) []*Scenario {
	s := &Scenario{Name: "discovery/server", Whole: true}
	const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	for _, accept := range []string{"", yamlType, protobufType, aggregated, aggregated + ",application/json", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer", "application/json;as=Table;v=v1;g=meta.k8s.io", "text/html", cborType} {
		for _, p := range []string{"/api", "/apis", "/api/v1"} {
			s.add(Step{Name: p + " as " + accept, Method: "GET", Path: p, Header: map[string]string{"Accept": accept}, Opaque: accept != ""})
		}
	}
	s.add(Step{Name: "the aggregated core group", Method: "GET", Path: "/api", Header: map[string]string{"Accept": aggregated}})
	s.add(Step{Name: "the aggregated groups", Method: "GET", Path: "/apis", Header: map[string]string{"Accept": aggregated}})
	s.add(Step{Name: "by an old tag", Method: "GET", Path: "/apis", Header: map[string]string{"Accept": aggregated, "If-None-Match": `"none"`}, Opaque: true})
	groups := map[string]bool{}
	for _, k := range kinds {
		if !groups[k.Root()] {
			groups[k.Root()] = true
			s.get("the resources of "+k.APIVersion(), k.Root())
			if k.Group != "" {
				s.get("the group "+k.Group+" by "+k.APIVersion(), "/apis/"+k.Group)
			}
		}
	}
	for _, accept := range []string{"", "application/json", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", "text/html", "*/*", yamlType} {
		for _, p := range []string{"/openapi/v2", "/openapi/v3", "/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1"} {
			s.add(Step{Name: p + " as " + accept, Method: "GET", Path: p, Header: map[string]string{"Accept": accept}, Opaque: true})
		}
	}
	s.add(Step{Name: "an openapi document by an old hash", Method: "GET", Path: "/openapi/v3/api/v1?hash=none", Opaque: true})
	return []*Scenario{s}
}
