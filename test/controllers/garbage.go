package controllers

import "strings"

// owned is a ConfigMap with owners, each RESOURCE/NAME, with a + before one that it
// blocks, and a - before one that is not there.
func owned(name string, owners ...string) Action {
	kinds := map[string]string{"configmaps": "ConfigMap", "secrets": "Secret", "serviceaccounts": "ServiceAccount", "clusterroles": "ClusterRole"}
	versions := map[string]string{"clusterroles": "rbac.authorization.k8s.io/v1"}
	var refs []any
	for _, o := range owners {
		blocks := strings.HasPrefix(o, "+")
		absent := strings.HasPrefix(o, "-")
		o = strings.TrimLeft(o, "+-")
		resource, of, _ := strings.Cut(o, "/")
		ref := Object{"apiVersion": "v1", "kind": kinds[resource], "name": of, "uid": "UID:" + o}
		if v := versions[resource]; v != "" {
			ref["apiVersion"] = v
		}
		if blocks {
			ref["blockOwnerDeletion"] = true
		}
		if absent {
			ref["uid"] = "00000000-0000-4000-8000-000000000001"
		}
		refs = append(refs, ref)
	}
	return func(ctx ctx, a *Actor) string {
		return a.create(ctx, "configmaps", Object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": Object{"name": name, "ownerReferences": refs}})
	}
}

func garbage() []*Sequence {
	const cm = "configmaps"
	finalizer := func(name, list string) Action { return Patch(cm, name, "metadata: {finalizers: "+list+"}") }
	return []*Sequence{
		story("garbage", "gcback", do("a chain", owned("a"), owned("b", "configmaps/a"), owned("c", "configmaps/b"), owned("d", "configmaps/c", "configmaps/a")), do("the head goes", Delete(cm, "a", "Background"))),
		story("garbage", "gcfore", do("a chain", owned("a"), owned("b", "+configmaps/a"), owned("c", "+configmaps/b")), do("held", finalizer("c", "[example.com/hold]")), do("the head goes", Delete(cm, "a", "Foreground")),
			do("let go", finalizer("c", "null"))),
		story("garbage", "gcforeloose", do("two that block and one that does not", owned("a"), owned("b", "+configmaps/a"), owned("c", "configmaps/a"), owned("d", "+configmaps/a")), do("both held", finalizer("b", "[example.com/hold]"), finalizer("c", "[example.com/hold]")),
			do("the head goes", Delete(cm, "a", "Foreground")), do("the one that blocks lets go", finalizer("b", "null")), do("the other too", finalizer("c", "null"))),
		story("garbage", "gcorphan", do("a chain", owned("a"), owned("b", "configmaps/a"), owned("c", "configmaps/b", "configmaps/a")), do("orphan", Delete(cm, "a", "Orphan")), do("one more", Delete(cm, "b", "Orphan"))),
		story("garbage", "gctwo", do("two owners", owned("a"), owned("b"), owned("c", "configmaps/a", "configmaps/b")), do("one goes", Delete(cm, "a", "")), do("the other goes", Delete(cm, "b", ""))),
		story("garbage", "gctwofore", do("two owners", owned("a"), owned("b"), owned("c", "+configmaps/a", "configmaps/b")), do("one goes in the foreground", Delete(cm, "a", "Foreground"))),
		story("garbage", "gcabsent", do("an absent owner", owned("a", "-configmaps/x")), do("an absent and a present one", owned("o"), owned("b", "-configmaps/x", "configmaps/o")), do("the wrong name", func(ctx ctx, a *Actor) string {
			return a.create(ctx, cm, Object{"metadata": Object{"name": "c", "ownerReferences": []any{Object{"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "UID:configmaps/o"}}}})
		})),
		story("garbage", "gccycle", do("a cycle", owned("a"), owned("b", "+configmaps/a"), Patch(cm, "a", "metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: b, uid: \"UID:configmaps/b\", blockOwnerDeletion: true}]}")), do("in the foreground", Delete(cm, "a", "Foreground"))),
		story("garbage", "gccycleback", do("a cycle", owned("a"), owned("b", "configmaps/a"),
			Patch(cm, "a", "metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: b, uid: \"UID:configmaps/b\"}]}")), do("in the background", Delete(cm, "a", "Background"))),
		story("garbage", "gccluster", do("an owner outside", Create("clusterroles", "metadata: {name: SELF-r}"), owned("a", "clusterroles/SELF-r")), do("it goes", Delete("clusterroles", "SELF-r", ""))),
		story("garbage", "gcelsewhere", do("an owner in another namespace", Create("namespaces", "metadata: {name: SELF-b}"), owned("o"), CreateIn("SELF-b", cm, "metadata: {name: c, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: o, uid: \"UID:configmaps/o\"}]}")).until(gone(cm, "c"))),
		story("garbage", "gcclusterchild", do("a namespaced owner of something outside", owned("o"),
			Create("clusterroles", "metadata: {name: SELF-r, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: o, uid: \"UID:configmaps/o\"}]}"))),
		story("garbage", "gckinds", nodes(1), do("a deployment owned", owned("o"), Create("deployments", web)), do("by a map", Patch("deployments", "web", "metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: o, uid: \"UID:configmaps/o\", blockOwnerDeletion: true}]}")),
			do("in the foreground", Delete(cm, "o", "Foreground"))),
		story("garbage", "gcunknown", do("an owner of a kind that nobody knows", func(ctx ctx, a *Actor) string {
			return a.create(ctx, cm, Object{"metadata": Object{"name": "a", "ownerReferences": []any{Object{"apiVersion": "example.com/v1", "kind": "Flower", "name": "x", "uid": "00000000-0000-4000-8000-000000000002"}}}})
		})),
		story("garbage", "gclater", do("two", owned("a"), owned("b")), do("one is given an owner", Patch(cm, "b", "metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: a, uid: \"UID:configmaps/a\"}]}")),
			do("the owner goes", Delete(cm, "a", ""))),
		story("garbage", "gcchanged", do("a chain", owned("a"), owned("b", "+configmaps/a")), do("held", finalizer("b", "[example.com/hold]")), do("the head goes", Delete(cm, "a", "Foreground")),
			do("the reference goes", Patch(cm, "b", "metadata: {ownerReferences: null}")), do("let go", finalizer("b", "null"))),
	}
}

func namespaces() []*Sequence {
	second := Create("namespaces", "metadata: {name: SELF-b}")
	return []*Sequence{
		story("namespace", "nsheld", do("a second namespace", second), do("something held", CreateIn("SELF-b", "configmaps", "metadata: {name: a, finalizers: [example.com/hold]}"), CreateIn("SELF-b", "secrets", "metadata: {name: s}")),
			do("deleted", Delete("namespaces", "SELF-b", "")), do("let go", func(ctx ctx, a *Actor) string {
				return a.send(ctx, "PATCH", path("configmaps", a.scope+"-b", "a"), "application/merge-patch+json", yamlDoc("metadata: {finalizers: null}"))
			}).until(gone("namespaces", "nsheld-b"))),
		story("namespace", "nspods", nodes(1), do("a second namespace", second), do("pods that stay", CreateIn("SELF-b", "pods", `{metadata: {name: a, annotations: {play: stuck}}, spec: {nodeSelector: {of: SELF}, containers: [{name: c, image: x}]}}`)),
			do("deleted", Delete("namespaces", "SELF-b", "")), do("they end", func(ctx ctx, a *Actor) string {
				return a.send(ctx, "DELETE", path("pods", a.scope+"-b", "a")+"?gracePeriodSeconds=0", "", nil)
			}).until(gone("namespaces", "nspods-b"))),
		story("namespace", "nsfull", nodes(1), do("a second namespace", second), do("a quota", CreateIn("SELF-b", "resourcequotas", "{metadata: {name: a}, spec: {hard: {pods: 10}}}")), do("all sorts of things", CreateIn("SELF-b", "deployments", web), CreateIn("SELF-b", "services", "{metadata: {name: a}, spec: {selector: {app: web}, ports: [{port: 80}]}}"),
			CreateIn("SELF-b", "jobs", "{metadata: {name: a}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: x}]}}}}")),
			do("deleted", Delete("namespaces", "SELF-b", "")).until(gone("namespaces", "nsfull-b"))),
		story("namespace", "nsagain", do("a second namespace", second), do("deleted", Delete("namespaces", "SELF-b", "")).until(gone("namespaces", "nsagain-b")), do("made again", second)),
		story("namespace", "nsfinalizer", do("a namespace that is held", Create("namespaces", "metadata: {name: SELF-b, finalizers: [example.com/hold]}")), do("deleted", Delete("namespaces", "SELF-b", "")),
			do("let go", Patch("namespaces", "SELF-b", "metadata: {finalizers: null}"))),
	}
}
