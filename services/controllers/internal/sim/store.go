package sim

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/mirror"
)

// store is the API and what it keeps: objects, revisions and deletions in stages.
type store struct {
	kinds    []*kind // by the path of their collection
	revision uint64
	uids     int
	changed  func(k *kind, key types.NamespacedName, old, new object, by string)
}

type object = map[string]any

// kind is a collection as the API has it.
type kind struct {
	gvk        schema.GroupVersionKind
	resource   string
	namespaced bool
	path       string // of the collection, without namespace
	objects    map[types.NamespacedName]object
	sample     any // a value of the Go type, for strategic merge patches

	pending []entry // of a Model: not in the mirror yet
	connect func(w *mirror.World)
	deliver func(e entry)
	check   func(old, new object, own bool) error
}

// others is who writes where no controller does: users, nodes, the scheduler.
const others = ""

// keep adds a kind.
func keep[T any](s *store, gvk schema.GroupVersionKind, resource string, namespaced bool) *kind {
	k := &kind{gvk: gvk, resource: resource, namespaced: namespaced, objects: map[types.NamespacedName]object{}, sample: *new(T)}
	if k.path = "/apis/" + gvk.Group + "/" + gvk.Version + "/" + resource; gvk.Group == "" {
		k.path = "/api/" + gvk.Version + "/" + resource
	}
	s.kinds = append(s.kinds, k)
	slices.SortFunc(s.kinds, func(a, b *kind) int { return strings.Compare(a.path, b.path) })
	return k
}

// keepMirrored adds a kind that controllers mirror.
func keepMirrored[T any](s *store, of *mirror.Kind[T]) *kind {
	return keep[T](s, of.GVK(), of.Resource().Resource, of.Path("x") != of.Path(""))
}

// place is what a path names.
type place struct {
	*kind
	key types.NamespacedName
	sub string
}

// find gives the place of a path; false where nothing is served.
func (s *store) find(path string) (place, bool) {
	for _, k := range s.kinds {
		base := strings.TrimSuffix(k.path, k.resource)
		rest, ok := strings.CutPrefix(path, base)
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		p := place{kind: k}
		if k.namespaced && parts[0] == "namespaces" && len(parts) > 2 {
			p.key.Namespace, parts = parts[1], parts[2:]
		}
		if parts[0] != k.resource || k.resource == "namespaces" && len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			continue
		}
		if len(parts) > 1 {
			p.key.Name = parts[1]
		}
		if len(parts) > 2 {
			p.sub = parts[2]
		}
		return p, true
	}
	return place{}, false
}

// get answers a read; the error is a status.
func (s *store) get(uri string) (any, error) {
	path, query, _ := strings.Cut(uri, "?")
	if list := s.discovery(path); list != nil {
		return list, nil
	}
	p, ok := s.find(path)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, path)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if p.key.Name == "" {
		return s.list(p, values)
	}
	present := p.objects[p.key]
	if present == nil {
		return nil, p.notFound(p.key)
	}
	if p.sub == "scale" {
		return scaleOf(present), nil
	}
	return present, nil
}

func (s *store) list(p place, values url.Values) (any, error) {
	name, named := strings.CutPrefix(values.Get("fieldSelector"), "metadata.name=")
	if !named && values.Get("fieldSelector") != "" {
		return nil, apierrors.NewBadRequest("sim: nobody serves the selector " + values.Get("fieldSelector"))
	}
	items := []any{}
	for _, key := range p.keys() {
		if (p.key.Namespace == "" || key.Namespace == p.key.Namespace) && (!named || key.Name == name) {
			items = append(items, p.objects[key])
		}
	}
	return object{"metadata": object{"resourceVersion": fmt.Sprint(s.revision)}, "items": items}, nil
}

// discovery is the API's description of itself; nil where path asks for something else.
func (s *store) discovery(path string) any {
	group, version := "", ""
	switch parts := strings.Split(path, "/"); {
	case path == "/api/v1":
		version = "v1"
	case path == "/apis":
		groups := &metav1.APIGroupList{}
		for _, k := range s.kinds {
			if n := len(groups.Groups); k.gvk.Group != "" && (n == 0 || groups.Groups[n-1].Name != k.gvk.Group) {
				v := metav1.GroupVersionForDiscovery{GroupVersion: k.gvk.GroupVersion().String(), Version: k.gvk.Version}
				groups.Groups = append(groups.Groups, metav1.APIGroup{Name: k.gvk.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
			}
		}
		return groups
	case len(parts) == 4 && parts[1] == "apis":
		group, version = parts[2], parts[3]
	default:
		return nil
	}
	list := &metav1.APIResourceList{GroupVersion: schema.GroupVersion{Group: group, Version: version}.String()}
	for _, k := range s.kinds {
		if k.gvk.Group == group && k.gvk.Version == version {
			verbs := metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: k.resource, Kind: k.gvk.Kind, Namespaced: k.namespaced, Verbs: verbs})
		}
	}
	return list
}

// put writes an object as the API completes it.
func (s *store) put(k *kind, key types.NamespacedName, o object, by string) object {
	old := k.objects[key]
	o = clone(o)
	s.revision++
	m := meta(o)
	m["resourceVersion"] = fmt.Sprint(s.revision)
	delete(m, "managedFields")
	o["apiVersion"], o["kind"] = k.gvk.GroupVersion().String(), k.gvk.Kind
	if old == nil {
		s.uids++
		m["uid"] = fmt.Sprintf("uid-%d", s.uids)
		m["creationTimestamp"] = stamp()
		m["generation"] = 1.0
		k.complete(o)
	} else if !reflect.DeepEqual(tidy(old["spec"]), tidy(o["spec"])) {
		generation, _ := meta(old)["generation"].(float64)
		m["generation"] = generation + 1
	}
	k.objects[key] = o
	s.changed(k, key, old, o, by)
	return o
}

func (s *store) drop(k *kind, key types.NamespacedName, by string) {
	if old := k.objects[key]; old != nil {
		s.revision++
		delete(k.objects, key)
		s.changed(k, key, old, nil, by)
	}
}

func (k *kind) keys() []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(k.objects), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
}

func (k *kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.gvk.Group, Resource: k.resource}
}

func (k *kind) notFound(key types.NamespacedName) error {
	return apierrors.NewNotFound(k.groupResource(), key.Name)
}
