package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sort"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"kubus.dev/gateway/internal/resource"
)

// resourcesOf lists what is served in a group version, as its APIResourceList.
func resourcesOf(table *resource.Table, gv schema.GroupVersion) []metav1.APIResource {
	var out []metav1.APIResource
	for _, kind := range table.In(gv) {
		out = append(out, ofKind(kind, gv)...)
	}
	for _, review := range resource.Reviews() {
		if review.GVR.GroupVersion() == gv {
			out = append(out, metav1.APIResource{Name: review.GVR.Resource, SingularName: review.Singular,
				Namespaced: review.Namespaced, Kind: review.GVK.Kind, Verbs: review.Verbs, ShortNames: review.ShortNames})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func ofKind(kind *resource.Kind, gv schema.GroupVersion) []metav1.APIResource {
	out := []metav1.APIResource{{
		Name: kind.GVR.Resource, SingularName: kind.Singular, Namespaced: kind.Namespaced, Kind: kind.GVK.Kind,
		Verbs: kind.ListedVerbs(), ShortNames: kind.ShortNames, Categories: kind.Categories,
		StorageVersionHash: storageVersionHash(kind.GVK),
	}}
	for i := range kind.Subresources {
		sub := &kind.Subresources[i]
		of := kind.SubresourceKind(sub, gv)
		r := metav1.APIResource{Name: kind.GVR.Resource + "/" + sub.Name, Namespaced: kind.Namespaced, Kind: of.Kind, Verbs: sub.Verbs}
		if of.GroupVersion() != gv {
			r.Group, r.Version = of.Group, of.Version
		}
		out = append(out, r)
	}
	return out
}

// storageVersionHash is upstream's discovery.StorageVersionHash.
func storageVersionHash(gvk schema.GroupVersionKind) string {
	sum := sha256.Sum256([]byte(gvk.Group + "/" + gvk.Version + "/" + gvk.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

// served is a group version of one of ours or of another server.
type served struct {
	gv       schema.GroupVersion
	priority resource.Priority
	remote   *Remote // nil: it is ours
}

// order lists everything that is served in the order of discovery: groups by
// priority, then by name; versions by priority, then the newest first. A group
// version of another server hides ours of the same name.
func order(table *resource.Table, remotes *Remotes) []served {
	var all []served
	hidden := map[schema.GroupVersion]bool{}
	for i := range remotes.list() {
		r := &remotes.list()[i]
		hidden[r.GroupVersion] = true
		all = append(all, served{r.GroupVersion, r.Priority, r})
	}
	for _, gv := range Versions(table) {
		if !hidden[gv] {
			all = append(all, served{gv, resource.PriorityOf(gv), nil})
		}
	}
	groups := map[string]int32{}
	for _, s := range all {
		groups[s.gv.Group] = max(groups[s.gv.Group], s.priority.Group)
	}
	slices.SortStableFunc(all, func(a, b served) int {
		return cmp.Or(
			cmp.Compare(groups[b.gv.Group], groups[a.gv.Group]), cmp.Compare(a.gv.Group, b.gv.Group),
			cmp.Compare(b.priority.Version, a.priority.Version), version.CompareKubeAwareVersionStrings(b.gv.Version, a.gv.Version))
	})
	return all
}

// Versions lists the group versions that we serve, in no order.
func Versions(table *resource.Table) []schema.GroupVersion {
	all := slices.Clone(table.Versions())
	for _, review := range resource.Reviews() {
		if gv := review.GVR.GroupVersion(); !slices.Contains(all, gv) {
			all = append(all, gv)
		}
	}
	return all
}
