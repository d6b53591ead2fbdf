package controllers

import "strings"

func services() []*Sequence {
	service := func(name, spec string) Action {
		return Create("services", "{apiVersion: v1, kind: Service, metadata: {name: "+name+"}, spec: {"+spec+"}}")
	}
	edit := func(spec string) Action { return Patch("services", "web", "spec: {"+spec+"}") }
	return []*Sequence{
		story("service", "svcready", nodes(2), do("a service without pods", service("web", "selector: {app: web}, ports: [{port: 80}]")), do("pods", Create("deployments", web)),
			do("unready", OnPods("app=web", 1, Ready(false))), do("ready", OnPods("app=web", 1, Ready(true))), do("scale", Patch("deployments", "web", "spec: {replicas: 1}")),
			do("another selector", edit("selector: {app: other}")), do("back", edit("selector: {app: web}")), do("ports", edit("ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, protocol: UDP}]")),
			do("delete", Delete("services", "web", ""))),
		story("service", "svcnotready", nodes(1), do("headless", service("web", "clusterIP: None, publishNotReadyAddresses: true, selector: {app: web}")), do("pods", Create("deployments", web)),
			do("unready", OnPods("app=web", 3, Ready(false))), do("a pod fails", OnPods("app=web", 1, Exit(1)))),
		story("service", "svcset", nodes(1), do("headless", service("db", "clusterIP: None, selector: {app: db}, ports: [{port: 5432}]")), do("a set", db("")), do("unready", OnPods("app=db", 1, Ready(false)))),
		story("service", "svcnamed", nodes(1), do("named ports", service("web", "selector: {app: web}, ports: [{port: 80, targetPort: http}]")),
			do("pods", Create("deployments", web)), do("with that port", Patch("deployments", "web", `spec: {template: {spec: {containers: [{name: c, image: "web:1", ports: [{name: http, containerPort: 8080}]}]}}}`))),
		story("service", "svcmirror", do("no selector", service("web", "ports: [{port: 80}]")),
			do("endpoints", Create("endpoints", "{apiVersion: v1, kind: Endpoints, metadata: {name: web, labels: {a: b}}, subsets: [{addresses: [{ip: 192.0.2.7}, {ip: 192.0.2.8, hostname: h}], notReadyAddresses: [{ip: 192.0.2.9}], ports: [{port: 80}]}]}")),
			do("fewer", Patch("endpoints", "web", "subsets: [{addresses: [{ip: 192.0.2.7}], ports: [{name: x, port: 81}]}]")), do("not mirrored", Patch("endpoints", "web", `metadata: {labels: {endpointslice.kubernetes.io/skip-mirror: "true"}}`)),
			do("mirrored", Patch("endpoints", "web", `metadata: {labels: {endpointslice.kubernetes.io/skip-mirror: null}}`)),
			do("no endpoints", Delete("endpoints", "web", ""))),
		story("service", "svcexternal", nodes(1), do("pods", Create("deployments", web)), do("a service", service("web", "selector: {app: web}, ports: [{port: 80}]")),
			do("external name", edit("type: ExternalName, externalName: example.com, clusterIP: null, clusterIPs: null")), do("labels", Patch("services", "web", "metadata: {labels: {x: y}}"))),
		story("service", "svcslices", nodes(1), do("pods", Create("deployments", web)), do("a service", service("web", "selector: {app: web}, ports: [{port: 80}]")),
			do("slices are deleted", func(ctx ctx, a *Actor) string {
				return a.send(ctx, "DELETE", a.path("endpointslices", ""), "", nil)
			}),
			do("a label on the service", Patch("services", "web", "metadata: {labels: {x: y}, annotations: {note: z}}")),
			do("headless label", Patch("services", "web", `metadata: {labels: {service.kubernetes.io/headless: ""}}`)), do("node port", edit("type: NodePort")),
			do("local", edit("internalTrafficPolicy: Local")), do("close", edit("trafficDistribution: PreferClose"))),
		story("service", "svcterminating", nodes(1), do("a service", service("web", "selector: {app: web}, ports: [{port: 80}]")), do("pods that stay", Create("deployments", strings.Replace(web, "metadata: {labels: {app: web}}", "metadata: {labels: {app: web}, annotations: {play: stuck}}", 1))), do("one is deleted", OnPods("app=web", 1, Remove)),
			do("scale down", Patch("deployments", "web", "spec: {replicas: 1}"))),
	}
}
