package controllers

import "time"

func nodeLosses() []*Sequence {
	unknown := func(name string) func(Objects) bool {
		return func(o Objects) bool {
			for k := range o {
				if k.Resource == "nodes" && condition("nodes", k.Name, "Ready", "Unknown")(o) && k.Name[len(k.Name)-len(name):] == name {
					return true
				}
			}
			return false
		}
	}
	lost := func(n string) Step { return do("a node is lost", LoseNode(n)).until(unknown(n)) }
	node := func(name, patch string) Action { return Patch("nodes", "SELF-"+name, patch) }
	tolerant := func(name, on, seconds string) Action {
		return Create("pods", `
apiVersion: v1
kind: Pod
metadata: {name: `+name+`}
spec:
  nodeName: SELF-`+on+`
  tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute`+seconds+`}, {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute`+seconds+`}]
  containers: [{name: c, image: x}]
`)
	}
	return []*Sequence{
		story("node", "nodelost", nodes(2), do("pods", tolerant("now", "n1", ", tolerationSeconds: 0"), tolerant("soon", "n1", ", tolerationSeconds: 3"), tolerant("never", "n1", ""), tolerant("late", "n1", ", tolerationSeconds: 3000"), tolerant("other", "n2", ", tolerationSeconds: 0")),
			lost("n1"), do("the node comes back", NodeBack("n1"))),
		story("node", "nodeset", nodes(2), do("a set", db(""), Patch("statefulsets", "db", "spec: {template: {spec: {tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}]}}}")), lost("n1"), do("it comes back", NodeBack("n1"))),
		story("node", "nodeout", nodes(2), do("a set", db("")), lost("n1"), do("out of service", node("n1", `spec: {taints: [{key: node.kubernetes.io/out-of-service, value: nodeshutdown, effect: NoExecute}, {key: node.kubernetes.io/unreachable, effect: NoSchedule}, {key: node.kubernetes.io/unreachable, effect: NoExecute}]}`)).patient(25*time.Second)),
		story("node", "nodedaemon", nodes(2), do("a daemon set", Create("daemonsets", `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: "agent:1"}]}
`)), lost("n1"), do("an edit meanwhile", Patch("daemonsets", "agent", `spec: {template: {metadata: {labels: {v: "2"}}}}`)), do("it comes back", NodeBack("n1"))),
		story("node", "nodetaint", nodes(2), do("a pod", tolerant("a", "n1", "")), do("pods of many", Create("deployments", web)), do("a taint", node("n1", "spec: {taints: [{key: k, value: v, effect: NoExecute}]}")), do("no taint", node("n1", "spec: {taints: null}")),
			do("no schedule", node("n2", "spec: {taints: [{key: k, value: v, effect: NoSchedule}]}")), do("cordon", node("n1", "spec: {unschedulable: true}")), do("open", node("n1", "spec: {unschedulable: null}"))),
		story("node", "nodetolerate", nodes(1), do("pods", Create("pods", `
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {nodeName: SELF-n1, tolerations: [{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 4}], containers: [{name: c, image: x}]}
`), Create("pods", `
apiVersion: v1
kind: Pod
metadata: {name: b}
spec: {nodeName: SELF-n1, tolerations: [{key: k, operator: Exists, effect: NoExecute, tolerationSeconds: 3000}, {key: j, operator: Exists, effect: NoExecute}], containers: [{name: c, image: x}]}
`)), do("a taint", node("n1", "spec: {taints: [{key: k, effect: NoExecute}]}")).until(gone("pods", "a")), do("another", node("n1", "spec: {taints: [{key: k, effect: NoExecute}, {key: j, effect: NoExecute}]}")), do("a third", node("n1", "spec: {taints: [{key: i, effect: NoExecute}]}"))),
		story("node", "nodegone", nodes(2), do("a set", db("")), lost("n1"), do("the node is deleted", Delete("nodes", "SELF-n1", "")).until(func(o Objects) bool {
			for _, p := range of(o, "pods") {
				if str(p, "spec", "nodeName") == "nodegone-n1" {
					return false
				}
			}
			return len(of(o, "pods")) == 3
		}).patient(30*time.Second)),
		story("node", "nodepressure", nodes(1), do("pressure", func(ctx ctx, a *Actor) string {
			return a.send(ctx, "PATCH", path("nodes", "", a.scope+"-n1")+"/status", "application/strategic-merge-patch+json", yamlDoc("status: {conditions: [{type: MemoryPressure, status: \"True\"}, {type: DiskPressure, status: \"True\"}, {type: PIDPressure, status: \"True\"}, {type: NetworkUnavailable, status: \"True\"}]}"))
		}), do("not ready", func(ctx ctx, a *Actor) string {
			return a.send(ctx, "PATCH", path("nodes", "", a.scope+"-n1")+"/status", "application/strategic-merge-patch+json", yamlDoc("status: {conditions: [{type: MemoryPressure, status: \"False\"}, {type: Ready, status: \"False\", reason: X, message: y}]}"))
		}), do("ready", NodeBack("n1"))),
		story("node", "nodenever", do("a node that says nothing", func(ctx ctx, a *Actor) string {
			a.kubelet.lose(a.scope+"-n1", true)
			return a.create(ctx, "nodes", Object{"metadata": Object{"name": a.scope + "-n1"}})
		}).until(unknown("n1"))),
		story("node", "podsended", nodes(1), do("a pod that will not be scheduled", Create("pods", `{metadata: {name: a, finalizers: [example.com/hold]}, spec: {nodeSelector: {none: such}, containers: [{name: c, image: x}]}}`)), do("deleted", Delete("pods", "a", "")).patient(25*time.Second),
			do("let go", Patch("pods", "a", "metadata: {finalizers: null}"))),
	}
}
