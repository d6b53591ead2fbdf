package discovery

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sort"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
				Namespaced: review.Namespaced, Kind: review.GVK.Kind, Verbs: metav1.Verbs{"create"}})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func ofKind(kind *resource.Kind, gv schema.GroupVersion) []metav1.APIResource {
	out := []metav1.APIResource{{
		Name: kind.GVR.Resource, SingularName: kind.Singular, Namespaced: kind.Namespaced, Kind: kind.GVK.Kind,
		Verbs: kind.ServedVerbs(), ShortNames: kind.ShortNames, Categories: kind.Categories,
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

// groupOrder is that of upstream's aggregated discovery; groups not in it follow.
var groupOrder = []string{"", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling",
	"batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
	"admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io"}

// Versions lists the served group versions in the order of discovery.
func Versions(table *resource.Table) []schema.GroupVersion {
	all := slices.Clone(table.Versions())
	for _, review := range resource.Reviews() {
		if gv := review.GVR.GroupVersion(); !slices.Contains(all, gv) {
			all = append(all, gv)
		}
	}
	rank := func(gv schema.GroupVersion) int {
		if i := slices.Index(groupOrder, gv.Group); i >= 0 {
			return i
		}
		return len(groupOrder)
	}
	sort.SliceStable(all, func(i, j int) bool { return rank(all[i]) < rank(all[j]) })
	return all
}
