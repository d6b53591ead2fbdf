package controllers

import "strings"

func replicaSets() []*Sequence {
	manifest := `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: rs}
spec:
  replicas: 3
  selector: {matchLabels: {app: rs}}
  template:
    metadata: {labels: {app: rs}}
    spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "rs:1"}]}
`
	controller := strings.NewReplacer("apps/v1", "v1", "ReplicaSet", "ReplicationController", "{matchLabels: {app: rs}}", "{app: rs}").Replace(manifest)
	var out []*Sequence
	for _, k := range []struct{ prefix, resource, manifest string }{
		{"rs", "replicasets", manifest}, {"rc", "replicationcontrollers", controller},
	} {
		edit := func(spec string) Action { return Patch(k.resource, "rs", "spec: {"+spec+"}") }
		create := do("create", Create(k.resource, k.manifest))
		out = append(out,
			story("replicaset", k.prefix+"scale", nodes(2), create, do("up", edit("replicas: 5")), do("down", edit("replicas: 1")), do("none", edit("replicas: 0")),
				do("again", edit("replicas: 2")), do("delete", Delete(k.resource, "rs", ""))),
			story("replicaset", k.prefix+"pods", nodes(2), create, do("one fails", OnPods("app=rs", 1, Exit(1))), do("one is deleted", OnPods("app=rs", 1, Remove)),
				do("one is unready", OnPods("app=rs", 1, Ready(false))), do("down to two", edit("replicas: 2")),
				do("released", OnPods("app=rs", 1, Merge("metadata: {labels: {app: other}}"))), do("foreground", Delete(k.resource, "rs", "Foreground"))),
			story("replicaset", k.prefix+"adopt", nodes(1),
				do("pods of nobody", Create("pods", bare("a", "labels: {app: rs}")), Create("pods", bare("b", "labels: {app: rs}"))), create,
				do("one too many", Create("pods", bare("c", "labels: {app: rs}"))), do("orphan", Delete(k.resource, "rs", "Orphan")), do("the same again", Create(k.resource, k.manifest))),
			story("replicaset", k.prefix+"cost", nodes(1), create, do("costs", OnPods("app=rs", 1, Merge(`metadata: {labels: {cheap: "yes"}, annotations: {controller.kubernetes.io/pod-deletion-cost: "-10"}}`))),
				do("down", edit("replicas: 2"))),
			story("replicaset", k.prefix+"template", nodes(1), create, do("a new template", edit(`template: {metadata: {labels: {v: "2"}}}`)), do("up", edit("replicas: 4")),
				do("ready later", edit("minReadySeconds: 3")), do("up again", edit("replicas: 5"))),
		)
	}
	return out
}

// bare is a pod of nobody with more of its metadata.
func bare(name, metadata string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, ` + metadata + `}
spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "x:1"}]}
`
}
