package differential

import "strings"

// options tries the query parameters of writes.
func options(s *story) {
	a := s.base
	for _, q := range []string{
		"dryRun=All", "dryRun=all", "dryRun=", "dryRun=All&dryRun=All", "dryRun=None", "fieldManager=me", "fieldManager=" + strings.Repeat("m", 129), "fieldManager=a%00b",
		"fieldValidation=Strict", "fieldValidation=strict", "fieldValidation=", "fieldValidation=Other", "unknown=1", "pretty=true", "timeout=1s", "timeout=x", "timeout=-1s", "timeout=0",
		"dryRun=All&fieldValidation=Other&fieldManager=" + strings.Repeat("m", 129), "%zz", "force=true", "propagationPolicy=Orphan", "watch=true",
	} {
		dry := "&dryRun=All"
		if strings.Contains(q, "dryRun") {
			dry = ""
		}
		s.send("create with "+q, "POST", s.collection()+"?"+q+dry, s.object(a))
	}
	s.remove("clean", s.path(a)) // what was created by "dryRun="
	s.create("create", a)
	for _, q := range []string{"dryRun=All", "dryRun=x", "fieldManager=me", "fieldManager=" + strings.Repeat("m", 129), "fieldValidation=Other", "force=true", "force=x", "unknown=1"} {
		s.edit("update with "+q, s.path(a)+"?"+q+"&dryRun=All", a, relabel("x"))
		s.patch("patch with "+q, s.path(a)+"?"+q+"&dryRun=All", "application/merge-patch+json", `{"metadata":{"labels":{"x":"y"}}}`)
		s.patch("apply with "+q, s.path(a)+"?"+q+"&dryRun=All", "application/apply-patch+yaml", s.object(a))
	}
	s.add(Step{Name: "dry run by the body's managed fields", Method: "PATCH", Path: s.path(a) + "?dryRun=All&fieldManager=me", Header: map[string]string{"Content-Type": "application/merge-patch+json"}, Body: []byte(`{"metadata":{"managedFields":[{}]}}`)})
	s.get("nothing was changed", s.path(a))
}
