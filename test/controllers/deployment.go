package controllers

// web is a Deployment whose pods run on the sequence's own nodes.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "web:1"}]}
`

func deployments() []*Sequence {
	image := func(tag string) Action {
		return Patch("deployments", "web", `spec: {template: {spec: {containers: [{name: c, image: "web:`+tag+`"}]}}}`)
	}
	play := func(how string) Action {
		return Patch("deployments", "web", `spec: {template: {metadata: {annotations: {play: "`+how+`"}}}}`)
	}
	create := do("create", Create("deployments", web))
	scale := func(n string) Action { return Patch("deployments", "web", "spec: {replicas: "+n+"}") }
	return []*Sequence{
		story("deployment", "deployroll", nodes(2), create,
			do("scale up", scale("5")), do("scale down", scale("2")), do("a new image", image("2")), do("and another", image("3")),
			do("back to the first", image("1")), do("to none", scale("0")), do("delete", Delete("deployments", "web", ""))),
		story("deployment", "deploypause", nodes(1), create,
			do("pause", Patch("deployments", "web", "spec: {paused: true}")), do("edit", image("2")), do("scale while paused", scale("4")),
			do("resume", Patch("deployments", "web", "spec: {paused: false}")), do("delete and orphan", Delete("deployments", "web", "Orphan"))),
		story("deployment", "deploystuck", nodes(1), create,
			do("a deadline", Patch("deployments", "web", "spec: {progressDeadlineSeconds: 3}")),
			do("never ready", play("unready")).until(reason("deployments", "web", "Progressing", "ProgressDeadlineExceeded")),
			do("scale while stuck", scale("6")),
			do("mend", play("run")), do("delete foreground", Delete("deployments", "web", "Foreground"))),
		story("deployment", "deployrecreate", nodes(2), do("create", Create("deployments", web)),
			do("recreate", Patch("deployments", "web", "spec: {strategy: {type: Recreate, rollingUpdate: null}}")),
			do("a new image", image("2")), do("history", Patch("deployments", "web", "spec: {revisionHistoryLimit: 0}")), do("another", image("3")),
			do("pods die", OnPods("app=web", 2, Remove)), do("pods fail", OnPods("app=web", 1, Exit(1)))),
		story("deployment", "deploypods", nodes(2), create,
			do("unready", OnPods("app=web", 2, Ready(false))), do("ready", OnPods("app=web", 2, Ready(true))),
			do("release a pod", OnPods("app=web", 1, Merge(`metadata: {labels: {app: other}}`))),
			do("give it back", OnPods("app=other", 1, Merge(`metadata: {labels: {app: web}}`))),
			do("evict", OnPods("app=web", 1, Evict)),
			do("delete a replica set", func(ctx ctx, a *Actor) string {
				objects, _ := a.world.Look(a.scope)
				for _, rs := range of(objects, "replicasets") {
					return a.send(ctx, "DELETE", a.path("replicasets", str(rs, "metadata", "name")), "", nil)
				}
				return "none"
			})),
		story("deployment", "deploysurge", nodes(2), create,
			do("bounds", Patch("deployments", "web", "spec: {replicas: 8, strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 25%}}}")),
			do("stuck in the middle", play("unready")), do("scale in the middle", scale("12")), do("down in the middle", scale("6")),
			do("bounds again", Patch("deployments", "web", "spec: {strategy: {rollingUpdate: {maxSurge: 50%, maxUnavailable: 0}}}")),
			do("on", play("run"))),
		story("deployment", "deployready", nodes(1), create,
			do("minimum", Patch("deployments", "web", "spec: {minReadySeconds: 2}")),
			do("a new image", image("2")).until(func(o Objects) bool {
				d := o.Get("deployments", "web")
				return num(d, "status", "updatedReplicas") == 3 && num(d, "status", "availableReplicas") == 3 && num(d, "status", "replicas") == 3
			})),
		story("deployment", "deployadopt", nodes(1),
			do("orphans", Create("replicasets", `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: old, labels: {app: web}}, spec: {replicas: 2, selector: {matchLabels: {app: web, v: a}},
  template: {metadata: {labels: {app: web, v: a}}, spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "web:0"}]}}}}`)),
			create, do("a label", Patch("deployments", "web", "metadata: {annotations: {note: x}}"))),
	}
}
