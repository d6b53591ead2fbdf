package controllers

func policies() []*Sequence {
	budget := func(spec string) Action {
		return Create("poddisruptionbudgets", "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: pdb}, spec: {"+spec+"}}")
	}
	edit := func(spec string) Action { return Patch("poddisruptionbudgets", "pdb", "spec: {"+spec+"}") }
	scale := func(n string) Action { return Patch("deployments", "web", "spec: {replicas: "+n+"}") }
	quota := func(spec string) Action {
		return Create("resourcequotas", "{apiVersion: v1, kind: ResourceQuota, metadata: {name: quota}, spec: {"+spec+"}}")
	}
	limit := func(spec string) Action { return Patch("resourcequotas", "quota", "spec: {"+spec+"}") }
	return []*Sequence{
		story("disruption", "pdbcounts", nodes(1), do("a budget for nobody", budget("minAvailable: 2, selector: {matchLabels: {app: web}}")), do("pods", Create("deployments", web)),
			do("evict", OnPods("app=web", 1, Evict)), do("unready", OnPods("app=web", 1, Ready(false))), do("refused", OnPods("app=web", 1, Evict)),
			do("always healthy only", edit("unhealthyPodEvictionPolicy: AlwaysAllow")), do("percent", edit(`minAvailable: "50%"`)), do("scale", scale("5")),
			do("at most", edit(`minAvailable: null, maxUnavailable: 1`)), do("at most percent", edit(`maxUnavailable: "34%"`)), do("none selected", edit("selector: {matchLabels: {app: none}}")),
			do("everybody", edit("selector: {}")), do("delete", Delete("poddisruptionbudgets", "pdb", ""))),
		story("disruption", "pdbset", nodes(1), do("a set", db("")), do("a budget", budget(`maxUnavailable: 1, selector: {matchLabels: {app: db}}`)), do("scale", Patch("statefulsets", "db", "spec: {replicas: 5}")),
			do("evict", OnPods("app=db", 1, Evict)), do("unready", OnPods("app=db", 1, Ready(false))), do("the unready one may go", OnPods("app=db", 1, Evict))),
		story("disruption", "pdbbare", nodes(1), do("pods of nobody", Create("pods", bare("a", "labels: {app: x}")), Create("pods", bare("b", "labels: {app: x}"))),
			do("a number", budget("minAvailable: 1, selector: {matchLabels: {app: x}}")), do("a percentage", edit(`minAvailable: "50%"`)), do("at most", edit(`minAvailable: null, maxUnavailable: 1`))),
		story("quota", "quotacount", nodes(1), do("a quota", quota(`hard: {pods: "2", services: "1", configmaps: "3", count/deployments.apps: "1", secrets: "5"}`)), do("a deployment of three", Create("deployments", web)),
			do("more", limit(`hard: {pods: "3"}`)), do("scale down", scale("1")), do("a service", Create("services", "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}}")),
			do("another", Create("services", "{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {ports: [{port: 80}]}}")), do("delete the service", Delete("services", "a", "")),
			do("delete", Delete("deployments", "web", "")), do("nothing counted", limit("hard: null"))),
		story("quota", "quotaamount", nodes(1), do("a quota", quota(`hard: {requests.cpu: "2", limits.memory: 1Gi, pods: "10"}`)), do("pods that ask for nothing", Create("deployments", web)),
			do("pods that ask", Patch("deployments", "web", `spec: {template: {spec: {containers: [{name: c, image: "web:1", resources: {requests: {cpu: 500m}, limits: {memory: 100Mi}}}]}}}`)),
			do("scale", scale("6")), do("less", limit(`hard: {requests.cpu: "1"}`)), do("scale down", scale("1")), do("a pod ends", OnPods("app=web", 1, Exit(0)))),
		story("quota", "quotascope", nodes(1), do("best effort", quota(`hard: {pods: "5"}, scopes: [BestEffort]`)), do("pods", Create("deployments", web)),
			do("others", Patch("deployments", "web", `spec: {template: {spec: {containers: [{name: c, image: "web:1", resources: {requests: {cpu: 500m}}}]}}}`))),
		story("quota", "quotaclaims", do("a quota", quota(`hard: {persistentvolumeclaims: "2", requests.storage: 5Gi, SELF-x.storageclass.storage.k8s.io/requests.storage: 3Gi}`)),
			do("a claim", Create("persistentvolumeclaims", claim("a", "SELF-x", "2Gi"))), do("too much", Create("persistentvolumeclaims", claim("b", "SELF-x", "2Gi"))), do("another class", Create("persistentvolumeclaims", claim("c", "SELF-y", "2Gi"))),
			do("delete", Delete("persistentvolumeclaims", "a", ""))),
	}
}

func claim(name, class, size string) string {
	return "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: " + name + "}, spec: {storageClassName: " + class + ", accessModes: [ReadWriteOnce], resources: {requests: {storage: " + size + "}}}}"
}
