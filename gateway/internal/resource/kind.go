package resource

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"

	"kubus.dev/proto"
)

// Kind is one row: a collection in the state log and how it is served. It never
// changes once a registry has it. A built-in kind may be served in several versions
// around one internal hub; a custom resource has a Kind for each served version,
// all of the same collection.
type Kind struct {
	// GVR and GVK are those of the storage version, the one the log keeps.
	GVR schema.GroupVersionResource
	GVK schema.GroupVersionKind

	Singular   string
	ListKind   string // "": Kind with "List" behind
	ShortNames []string
	Categories []string
	Namespaced bool

	// Served lists every group and version under which the collection appears.
	// Of a built-in kind the first is the storage version, and the preferred one of
	// its group.
	Served []schema.GroupVersion

	// New and NewList make empty objects of the internal version; of a custom kind
	// its codec does.
	New     func() runtime.Object
	NewList func() runtime.Object

	// Codec reads and writes the documents of the log. A built-in row leaves it out:
	// the scheme's is filled in.
	Codec Codec
	// Tables renders objects of the hub as kubectl's columns; nil in a built-in row:
	// upstream's printers.
	Tables rest.TableConvertor
	// TableOrder orders the rows of a list's Table by objects of the hub; nil: as in the
	// list.
	TableOrder func(a, b runtime.Object) int
	// Custom says that the kind was made at run time. As upstream has it, items of
	// its lists carry kind and apiVersion.
	Custom bool
	// Deprecation is what clients are warned of; "" is what upstream says of a
	// built-in kind.
	Deprecation string

	// The strategies are upstream's: what is defaulted, validated and kept on
	// the main resource's verbs.
	Create rest.RESTCreateStrategy
	Update rest.RESTUpdateStrategy
	Delete rest.RESTDeleteStrategy
	// Bind makes the strategies that ask others before they let an object pass: the
	// row's own of such a kind must not validate. Nil: they need nobody.
	Bind func(o Others) Strategies

	Subresources []Subresource

	// Attrs gives an object's labels and the fields that selectors may name, as
	// upstream's storage does. Nil: name and namespace only.
	Attrs func(obj runtime.Object) (labels.Set, fields.Set, error)

	// Folded are annotations of the storage version that hold fields of the hub: as
	// upstream's, metadata that is shown alone is the hub's and has none of them.
	Folded []string

	// TTL is how long an object lives after its last write; 0 is for ever.
	TTL time.Duration
	// Sealed says that the log keeps the object's content as ciphertext.
	Sealed bool
	// ReturnDeleted says that DELETE answers with the object rather than a Status.
	ReturnDeleted bool
	// Unsettled says that the strategies change what defaults depend on, after the
	// object was defaulted. Upstream shows the defaults since it reads back what it
	// wrote; here they are filled in before (Document).
	Unsettled bool
	// Verbs narrows the verbs of the main resource; nil is all of them.
	Verbs []string
	// Listed gives the verbs that discovery lists at present; nil: those served.
	Listed func() []string

	life   life
	hollow *hollow // of a built-in kind
}

// Subresource is one path below an object.
type Subresource struct {
	Name string // "status", "binding"
	// Kind is what the path accepts and answers; its version is that of the
	// serving version where the group is the kind's own.
	Kind  schema.GroupVersionKind
	Verbs []string // as discovery lists them, sorted
	// Update is set where the path changes a part of the object by update and
	// patch (status, finalize, ephemeralcontainers): upstream's strategy for it.
	Update rest.RESTUpdateStrategy
	// Scale says that the path shows the object as an autoscaling/v1 Scale.
	Scale bool
	// Storage makes the path's storage over that of the main resource; nil: what the
	// fields above ask for.
	Storage func(main rest.StandardStorage) rest.Storage
	// Tables renders what the path answers; nil: as the kind.
	Tables rest.TableConvertor
	// Untabled says that there is no Table of it: upstream's storage of some status has
	// no printer.
	Untabled bool
}

// GR names the collection in the state log.
func (k *Kind) GR() proto.GroupResource {
	return proto.GroupResource{Group: k.GVR.Group, Resource: k.GVR.Resource}
}

// GroupResource is GR in upstream's type, for errors.
func (k *Kind) GroupResource() schema.GroupResource { return k.GVR.GroupResource() }

// Key names one object in the state log.
func (k *Kind) Key(namespace, name string) proto.Key {
	return proto.Key{GroupResource: k.GR(), Namespace: namespace, Name: name}
}

// ServedKind is the kind as gv shows it.
func (k *Kind) ServedKind(gv schema.GroupVersion) schema.GroupVersionKind {
	return gv.WithKind(k.GVK.Kind)
}

// ServedListKind is the kind of a list as gv shows it.
func (k *Kind) ServedListKind(gv schema.GroupVersion) schema.GroupVersionKind {
	if k.ListKind != "" {
		return gv.WithKind(k.ListKind)
	}
	return gv.WithKind(k.GVK.Kind + "List")
}

// AllVerbs are those of a resource whose row does not narrow them.
var AllVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// ServedVerbs lists the main resource's verbs, sorted.
func (k *Kind) ServedVerbs() []string {
	if k.Verbs != nil {
		return k.Verbs
	}
	return AllVerbs
}

// ListedVerbs are those of the main resource in discovery.
func (k *Kind) ListedVerbs() []string {
	if k.Listed != nil {
		return k.Listed()
	}
	return k.ServedVerbs()
}

// Serves says whether the main resource answers verb.
func (k *Kind) Serves(verb string) bool { return slices.Contains(k.ServedVerbs(), verb) }

// Subresource finds one by name; nil if there is none.
func (k *Kind) Subresource(name string) *Subresource {
	for i := range k.Subresources {
		if k.Subresources[i].Name == name {
			return &k.Subresources[i]
		}
	}
	return nil
}

// SubresourceKind is what a subresource takes and answers below the kind as gv.
func (k *Kind) SubresourceKind(sub *Subresource, gv schema.GroupVersion) schema.GroupVersionKind {
	if sub.Kind.GroupVersion() == k.GVR.GroupVersion() {
		return gv.WithKind(sub.Kind.Kind)
	}
	return sub.Kind
}
