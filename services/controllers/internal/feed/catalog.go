package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto"
)

// Resource is a collection that the API serves and whose objects can be deleted.
type Resource struct {
	proto.GroupResource
	Version    string
	Kind       string
	Namespaced bool
	Verbs      []string
}

// Can is true when the API offers the verb on the resource.
func (r *Resource) Can(verb string) bool { return slices.Contains(r.Verbs, verb) }

// Catalog is what the API serves, one version of each collection.
type Catalog struct {
	Resources []Resource
	// Incomplete is why some of it is not known; nil: all is.
	Incomplete error
	kinds      map[schema.GroupKind]*Resource
}

// NewCatalog indexes resources.
func NewCatalog(resources []Resource) *Catalog {
	c := &Catalog{Resources: resources, kinds: map[schema.GroupKind]*Resource{}}
	for i := range resources {
		r := &resources[i]
		c.kinds[schema.GroupKind{Group: r.Group, Kind: r.Kind}] = r
	}
	return c
}

// ByKind finds the collection of a kind in any of its versions, or nil.
func (c *Catalog) ByKind(apiVersion, kind string) *Resource {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil
	}
	return c.kinds[schema.GroupKind{Group: gv.Group, Kind: kind}]
}

// discover reads the catalog through the API's own discovery. A group that cannot
// be read is left out and told of in err, which may come together with a catalog.
func discover(ctx context.Context, read func(ctx context.Context, path string) ([]byte, error)) (*Catalog, error) {
	var resources []Resource
	collect := func(path, group, version string) error {
		var list metav1.APIResourceList
		if err := get(ctx, read, path, &list); err != nil {
			return err
		}
		for i := range list.APIResources {
			r := &list.APIResources[i]
			if slices.Contains(r.Verbs, "delete") {
				resources = append(resources, Resource{proto.GroupResource{Group: group, Resource: r.Name}, version, r.Kind, r.Namespaced, r.Verbs})
			}
		}
		return nil
	}
	if err := collect("/api/v1", "", "v1"); err != nil {
		return nil, err
	}
	var groups metav1.APIGroupList
	if err := get(ctx, read, "/apis", &groups); err != nil {
		return nil, err
	}
	var failed error
	for i := range groups.Groups {
		g := &groups.Groups[i]
		versions := []string{g.PreferredVersion.Version}
		for _, v := range g.Versions {
			if v.Version != g.PreferredVersion.Version {
				versions = append(versions, v.Version)
			}
		}
		known := len(resources)
		for _, version := range versions {
			before := len(resources)
			if err := collect("/apis/"+g.Name+"/"+version, g.Name, version); err != nil {
				failed = err
				continue
			}
			// Only what no earlier version of the group serves.
			fresh := resources[:before]
			for _, r := range resources[before:] {
				if !slices.ContainsFunc(resources[known:before], func(o Resource) bool { return o.Resource == r.Resource }) {
					fresh = append(fresh, r)
				}
			}
			resources = fresh
		}
	}
	catalog := NewCatalog(resources)
	catalog.Incomplete = failed
	return catalog, failed
}

func get(ctx context.Context, read func(ctx context.Context, path string) ([]byte, error), path string, into any) error {
	body, err := read(ctx, path)
	if err != nil {
		return fmt.Errorf("discovering %s: %w", path, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("discovering %s: %w", path, err)
	}
	return nil
}
