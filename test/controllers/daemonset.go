package controllers

func daemonSets() []*Sequence {
	create := func(spec string) Action {
		return Create("daemonsets", `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
`+spec+`
  template:
    metadata: {labels: {app: agent}}
    spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "agent:1"}]}
`)
	}
	edit := func(spec string) Action { return Patch("daemonsets", "agent", "spec: {"+spec+"}") }
	image := func(tag string) Action {
		return edit(`template: {spec: {containers: [{name: c, image: "agent:` + tag + `"}]}}`)
	}
	play := func(how string) Action {
		return edit(`template: {metadata: {annotations: {play: "` + how + `"}}}`)
	}
	node := func(name, patch string) Action { return Patch("nodes", "SELF-"+name, patch) }
	return []*Sequence{
		story("daemonset", "dsnodes", nodes(2), do("create", create("")), do("one more node", AddNode("n3")),
			do("a node is not for it", node("n1", "metadata: {labels: {of: other}}")), do("it is again", node("n1", "metadata: {labels: {of: SELF}}")),
			do("cordon", node("n2", "spec: {unschedulable: true}")), do("no schedule", node("n3", "spec: {taints: [{key: k, value: v, effect: NoSchedule}]}")),
			do("another node", AddNode("n4")), do("no execute", node("n3", "spec: {taints: [{key: k, value: v, effect: NoExecute}]}")),
			do("no taint", node("n3", "spec: {taints: null}")),
			do("delete", Delete("daemonsets", "agent", ""))),
		story("daemonset", "dsroll", nodes(3), do("create", create("")), do("a new image", image("2")), do("back", image("1")), do("broken", play("unready")),
			do("mend", play("run")), do("history", edit("revisionHistoryLimit: 1")), do("image", image("4")), do("foreground", Delete("daemonsets", "agent", "Foreground"))),
		story("daemonset", "dsmany", nodes(4), do("create", create("  updateStrategy: {rollingUpdate: {maxUnavailable: 50%}}")), do("a new image", image("2")), do("broken", play("unready"))),
		story("daemonset", "dssurge", nodes(3), do("create", create("  updateStrategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}")), do("a new image", image("2")),
			do("broken", play("unready")), do("mend", play("run"))),
		story("daemonset", "dsondelete", nodes(2), do("create", create("  updateStrategy: {type: OnDelete}")), do("a new image", image("2")),
			do("delete a pod", OnPods("app=agent", 1, Remove)), do("roll", edit("updateStrategy: {type: RollingUpdate}")), do("orphan", Delete("daemonsets", "agent", "Orphan"))),
		story("daemonset", "dspods", nodes(2), do("create", create("")), do("a pod fails", OnPods("app=agent", 1, Exit(1))), do("a pod is deleted", OnPods("app=agent", 1, Remove)),
			do("a pod is released", OnPods("app=agent", 1, Merge("metadata: {labels: {app: other}}"))), do("unready", OnPods("app=agent", 1, Ready(false)))),
		story("daemonset", "dsready", nodes(1), do("create", create("  minReadySeconds: 3")).until(func(o Objects) bool { return num(o.Get("daemonsets", "agent"), "status", "numberAvailable") == 1 })),
		story("daemonset", "dsgone", nodes(3), do("create", create("")), do("a node goes", Delete("nodes", "SELF-n2", ""))),
		story("daemonset", "dsadopt", nodes(2), do("pods of nobody", Create("pods", `
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: agent}}
spec: {nodeName: SELF-n1, containers: [{name: c, image: "x:1"}]}
`)), do("create", create(""))),
	}
}
