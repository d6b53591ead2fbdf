package api

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/resource"
)

// NotFound answers as upstream does for a resource it does not serve.
func NotFound(w http.ResponseWriter, r *http.Request) { generic(w, r, http.StatusNotFound, "") }

// Missing answers for paths below /api and /apis where nothing is. As upstream's, the
// groups that a router of its own serves get a Status and others a line of text.
func Missing(registry *resource.Registry) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if group, ok := groupOf(r.URL.Path); ok && !builtIn(registry.Load(), group) {
			http.NotFound(w, r)
			return
		}
		NotFound(w, r)
	}
}

// groupOf gives the group that a path below /apis names.
func groupOf(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, "/apis/")
	group, _, _ := strings.Cut(rest, "/")
	return group, ok
}

// builtIn says whether a group has kinds that were not made at run time.
func builtIn(table *resource.Table, group string) bool {
	inGroup := func(gv schema.GroupVersion) bool { return gv.Group == group }
	for _, k := range table.Kinds() {
		if !k.Custom && slices.ContainsFunc(k.Served, inGroup) {
			return true
		}
	}
	return slices.ContainsFunc(resource.Reviews(), func(r resource.Review) bool { return r.GVR.Group == group })
}
