package controllers

// db is a StatefulSet of three with more of a spec.
func db(spec string) Action {
	return Create("statefulsets", `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
`+spec+`
  template:
    metadata: {labels: {app: db}}
    spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "db:1"}]}
`)
}

const claims = `
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {storageClassName: SELF-none, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

func statefulSets() []*Sequence {
	edit := func(spec string) Action { return Patch("statefulsets", "db", "spec: {"+spec+"}") }
	image := func(tag string) Action {
		return edit(`template: {spec: {containers: [{name: c, image: "db:` + tag + `"}]}}`)
	}
	play := func(how string) Action {
		return edit(`template: {metadata: {annotations: {play: "` + how + `"}}}`)
	}
	return []*Sequence{
		story("statefulset", "setorder", nodes(2), do("create", db("")), do("scale up", edit("replicas: 5")), do("scale down", edit("replicas: 2")),
			do("a new image", image("2")), do("back", image("1")), do("delete", Delete("statefulsets", "db", ""))),
		story("statefulset", "setpartition", nodes(1), do("create", db("")), do("partition", edit("updateStrategy: {rollingUpdate: {partition: 2}}")),
			do("a new image", image("2")), do("scale", edit("replicas: 4")), do("lower", edit("updateStrategy: {rollingUpdate: {partition: 0}}"))),
		story("statefulset", "setdelete", nodes(1), do("create", db("  updateStrategy: {type: OnDelete}")), do("a new image", image("2")),
			do("delete a pod", OnPods("app=db", 1, Remove)), do("a third image", image("3")), do("orphan", Delete("statefulsets", "db", "Orphan"))),
		story("statefulset", "setparallel", nodes(2), do("create", db("  podManagementPolicy: Parallel")), do("scale", edit("replicas: 6")),
			do("a new image", image("2")), do("fewer", edit("replicas: 1")), do("foreground", Delete("statefulsets", "db", "Foreground"))),
		story("statefulset", "setbroken", nodes(1), do("create", db("")), do("a broken one", play("unready")), do("mend", play("run")),
			do("delete the broken pod", OnPods("app=db", 3, Remove))),
		story("statefulset", "setfail", nodes(1), do("create", db("")), do("a pod fails", OnPods("app=db", 1, Exit(1))), do("pods are deleted", OnPods("app=db", 3, Remove)),
			do("unready", OnPods("app=db", 1, Ready(false))), do("scale while unready", edit("replicas: 4")), do("scale down while unready", edit("replicas: 2"))),
		story("statefulset", "setordinals", nodes(1), do("create", db("  ordinals: {start: 3}")), do("move", edit("ordinals: {start: 1}")), do("minimum", edit("minReadySeconds: 2")),
			do("history", edit("revisionHistoryLimit: 1")), do("image", image("2")), do("image", image("3")), do("image", image("4"))),
		story("statefulset", "setclaims", nodes(1), do("create", db(claims)), do("scale down", edit("replicas: 1")), do("scale up", edit("replicas: 2")),
			do("a claim is deleted", Delete("persistentvolumeclaims", "data-db-0", "")), do("its pod too", OnPods("app=db", 1, Remove)),
			do("delete", Delete("statefulsets", "db", ""))),
		story("statefulset", "setretention", nodes(1),
			do("create", db(claims+"  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}")), do("scale down", edit("replicas: 1")),
			do("keep", edit("persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}")), do("delete again", edit("persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Retain}")),
			do("delete", Delete("statefulsets", "db", ""))),
		story("statefulset", "setmany", nodes(1), do("create", db("  podManagementPolicy: Parallel\n  updateStrategy: {rollingUpdate: {maxUnavailable: 2}}")),
			do("image", image("2")), do("stuck", play("unready"))),
	}
}

// reason tells that an object's condition has a reason.
func reason(resource, name, kind, reason string) func(Objects) bool {
	return func(o Objects) bool {
		for _, c := range list(o.Get(resource, name), "status", "conditions") {
			if str(c, "type") == kind && str(c, "reason") == reason {
				return true
			}
		}
		return false
	}
}
