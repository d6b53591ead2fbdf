package resource

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Codec turns the documents that the log keeps of a kind into objects and back. The
// objects in between are the hub's: of the internal version for a built-in kind,
// unstructured and of the served version for a custom one. Safe for concurrent use.
type Codec interface {
	// New and NewList make empty objects of the hub.
	New() runtime.Object
	NewList() runtime.Object
	// Decode reads a stored document (Entry.JSON, so that it carries its
	// resourceVersion) and defaults it. The result is the caller's own.
	Decode(document []byte) (runtime.Object, error)
	// Encode gives the canonical document of an object: JSON of the storage version,
	// kind, apiVersion and metadata first, without resourceVersion. The object is
	// left as it was.
	Encode(hub runtime.Object) ([]byte, error)
	// As reads a stored document as gv shows it, its type set.
	As(document []byte, gv schema.GroupVersion) (runtime.Object, error)
	// Direct says whether a stored document, written at revision, is byte for byte
	// what gv shows but for its resourceVersion.
	Direct(document []byte, revision uint64, gv schema.GroupVersion) bool
	// Machinery is what upstream's handlers need to know of the kind's types, as gv
	// and for one subresource ("": the main resource).
	Machinery(gv schema.GroupVersion, subresource string) *Machinery
}

// Batch is a Codec that reads many documents for much less than one after another.
type Batch interface {
	Codec
	// DecodeMany is Decode of each, in order; one error fails all.
	DecodeMany(documents [][]byte) ([]runtime.Object, error)
}

// Machinery is the part of upstream's handlers.RequestScope that differs by where a
// kind's types come from.
type Machinery struct {
	Serializer runtime.NegotiatedSerializer
	// Standard narrows the media types of what is not transformed; nil does not.
	Standard        []runtime.SerializerInfo
	ParameterCodec  runtime.ParameterCodec
	Creater         runtime.ObjectCreater
	Convertor       runtime.ObjectConvertor
	UnsafeConvertor runtime.ObjectConvertor
	Defaulter       runtime.ObjectDefaulter
	Typer           runtime.ObjectTyper
	// Hub is the version in which objects are handled in memory.
	Hub schema.GroupVersion
	// PatchTypes are the media types that a PATCH may have.
	PatchTypes []string
	// FieldManager makes what keeps managed fields; nil: the gateway's, by the
	// built-in types.
	FieldManager func(gvk schema.GroupVersionKind, subresource string, reset map[fieldpath.APIVersion]fieldpath.Filter) (*managedfields.FieldManager, error)
}
