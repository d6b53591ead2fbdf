package differential

// applies tries server-side apply: who owns what.
func applies(s *story) {
	a := s.base
	apply := func(name, query string, body any) { s.patch(name, s.path(a)+query, applyPatch, body) }
	labels := func(pairs ...string) map[string]any {
		l := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			l[pairs[i]] = pairs[i+1]
		}
		return s.labelled(a, l)
	}
	bare := func(l map[string]any) map[string]any {
		return map[string]any{"apiVersion": s.k.APIVersion(), "kind": s.k.Name, "metadata": map[string]any{"name": s.k.ObjectName(a), "labels": l}}
	}
	apply("without a manager", "", labels())
	apply("dry", "?fieldManager=one&dryRun=All", labels("a", "1"))
	apply("create", "?fieldManager=one", labels("a", "1", "b", "1"))
	s.settle("create", s.path(a))
	apply("again", "?fieldManager=one", labels("a", "1", "b", "1"))
	apply("a label less", "?fieldManager=one", labels("a", "1"))
	apply("another manager, the same", "?fieldManager=two", bare(map[string]any{"a": "1"}))
	apply("another manager, a conflict", "?fieldManager=two", bare(map[string]any{"a": "2"}))
	apply("another manager, by force", "?fieldManager=two&force=true", bare(map[string]any{"a": "2"}))
	apply("the first again, a conflict", "?fieldManager=one", labels("a", "1"))
	apply("the first without it", "?fieldManager=one", labels())
	s.patch("a merge patch takes over", s.path(a)+"?fieldManager=three", mergePatch, `{"metadata":{"labels":{"a":"3"}}}`)
	apply("a conflict with an update", "?fieldManager=two", bare(map[string]any{"a": "2"}))
	s.edit("an update of a manager", s.path(a)+"?fieldManager=four", a, relabel("4"))
	apply("with managed fields", "?fieldManager=one", func() map[string]any {
		o := labels()
		meta(o)["managedFields"] = []any{map[string]any{"manager": "x", "operation": "Apply", "apiVersion": "v1"}}
		return o
	}())
	apply("with a name that differs", "?fieldManager=one", map[string]any{"apiVersion": s.k.APIVersion(), "kind": s.k.Name, "metadata": map[string]any{"name": "other"}})
	apply("without a name", "?fieldManager=one", map[string]any{"apiVersion": s.k.APIVersion(), "kind": s.k.Name})
	apply("without a kind", "?fieldManager=one", map[string]any{"metadata": map[string]any{"name": a}})
	apply("another kind", "?fieldManager=one", map[string]any{"apiVersion": "v1", "kind": "Other", "metadata": map[string]any{"name": a}})
	apply("a version nobody has", "?fieldManager=one", map[string]any{"apiVersion": "x/v9", "kind": s.k.Name, "metadata": map[string]any{"name": a}})
	apply("an old version of it", "?fieldManager=one", func() map[string]any { o := labels(); meta(o)["resourceVersion"] = "1"; return o }())
	apply("with a uid", "?fieldManager=one", func() map[string]any { o := labels(); meta(o)["uid"] = "x"; return o }())
	apply("no document", "?fieldManager=one", "{")
	apply("nothing", "?fieldManager=one", "")
	apply("a text", "?fieldManager=one", "x")
	apply("two documents", "?fieldManager=one", string(encode(labels()))+"\n---\n"+string(encode(labels())))
	apply("yaml", "?fieldManager=one", forms(labels("y", "aml"))["yaml"])
	apply("an unknown field", "?fieldManager=one", func() map[string]any { o := labels(); o["unknownField"] = 1; return o }())
	apply("a wrong type", "?fieldManager=one", func() map[string]any { o := labels(); meta(o)["labels"] = "x"; return o }())
	for _, mode := range []string{"Strict", "Warn", "Ignore"} {
		o := labels()
		o["unknownField"] = 1
		apply("an unknown field "+mode, "?fieldManager=one&fieldValidation="+mode, o)
	}
	s.edit("clear the managed fields", s.path(a), a, func(o map[string]any) { meta(o)["managedFields"] = []any{map[string]any{}} })
	apply("after clearing", "?fieldManager=one&force=true", labels("a", "5"))
	if len(s.k.Subresources["status"]) > 0 {
		s.patch("status", s.path(a)+"/status?fieldManager=status", applyPatch, map[string]any{"apiVersion": s.k.APIVersion(), "kind": s.k.Name, "metadata": map[string]any{"name": s.k.ObjectName(a), "labels": map[string]any{"st": "atus"}}})
	}
	s.get("after all that", s.path(a))
	s.patch("apply with a uid nobody has", s.path(a+"-n")+"?fieldManager=one", applyPatch, func() map[string]any { o := s.object(a + "-n"); meta(o)["uid"] = "x"; return o }())
	s.remove("delete", s.path(a))
}
