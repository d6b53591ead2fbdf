package differential

// lifecycle is the life of an object, with what is commonly done wrong.
func lifecycle(s *story) {
	a := s.base
	s.get("what is not there", s.path(a))
	s.remove("delete what is not there", s.path(a))
	s.send("update what is not there", "PUT", s.path(a), s.object(a))
	s.create("create", a)
	s.create("create it again", a)
	s.get("get", s.path(a))
	s.add(Step{Name: "head", Method: "HEAD", Path: s.path(a)})
	s.get("get by a revision", s.path(a)+"?resourceVersion=0")
	s.get("get by a wrong revision", s.path(a)+"?resourceVersion=x")
	if s.k.Resource == "pods" { // it takes three seconds
		s.get("get by the future", s.path(a)+"?resourceVersion=99999999")
	}
	s.get("list", s.collection()+"?labelSelector=nobody%3Dhas")
	s.edit("update with nothing new", s.path(a), a, func(map[string]any) {})
	s.edit("update a label", s.path(a), a, relabel("1"))
	s.edit("update without a version", s.path(a), a, func(o map[string]any) {
		delete(meta(o), "resourceVersion")
		relabel("2")(o)
	})
	s.edit("update of an old version", s.path(a), a, func(o map[string]any) { meta(o)["resourceVersion"] = "1" })
	s.edit("update of a version that is none", s.path(a), a, func(o map[string]any) { meta(o)["resourceVersion"] = "x" })
	s.edit("update of another uid", s.path(a), a, func(o map[string]any) { meta(o)["uid"] = "11111111-2222-3333-4444-555555555555" })
	s.edit("update without uid", s.path(a), a, func(o map[string]any) { delete(meta(o), "uid"); relabel("3")(o) })
	s.edit("update of another name", s.path(a), a, func(o map[string]any) { meta(o)["name"] = "other" })
	s.edit("update without a name", s.path(a), a, func(o map[string]any) { delete(meta(o), "name") })
	s.edit("update of another namespace", s.path(a), a, func(o map[string]any) { meta(o)["namespace"] = "other" })
	s.edit("update without a namespace", s.path(a), a, func(o map[string]any) { delete(meta(o), "namespace") })
	s.edit("update of another kind", s.path(a), a, func(o map[string]any) { o["kind"] = "Other" })
	s.edit("update without a kind", s.path(a), a, func(o map[string]any) { delete(o, "kind"); delete(o, "apiVersion") })
	s.edit("update of another version of the API", s.path(a), a, func(o map[string]any) { o["apiVersion"] = "v9" })
	s.edit("update the creation time", s.path(a), a, func(o map[string]any) { meta(o)["creationTimestamp"] = "2001-01-01T00:00:00Z" })
	s.edit("update the deletion time", s.path(a), a, func(o map[string]any) { meta(o)["deletionTimestamp"] = "2001-01-01T00:00:00Z" })
	s.edit("update the generation", s.path(a), a, func(o map[string]any) { meta(o)["generation"] = 77 })
	s.edit("update with a self link", s.path(a), a, func(o map[string]any) { meta(o)["selfLink"] = "/x" })
	s.edit("update without managed fields", s.path(a), a, func(o map[string]any) { meta(o)["managedFields"] = []any{map[string]any{}} })
	s.get("after all that", s.path(a))
	s.remove("delete", s.path(a))
	s.get("gone", s.path(a))
	s.create("create anew", a)
	s.remove("delete anew", s.path(a)+"?gracePeriodSeconds=0")
}
