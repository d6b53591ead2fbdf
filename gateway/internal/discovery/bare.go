package discovery

import (
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// withoutVersion encodes objects without apiVersion: the oldest documents have had
// none since release 1.1, and clients may rely on it.
type withoutVersion struct{ runtime.NegotiatedSerializer }

// EncoderForVersion leaves apiVersion out of what the encoder writes.
func (n withoutVersion) EncoderForVersion(encoder runtime.Encoder, gv runtime.GroupVersioner) runtime.Encoder {
	serializer, ok := encoder.(runtime.Serializer)
	if !ok {
		panic("an encoder of discovery is no serializer")
	}
	return n.NegotiatedSerializer.EncoderForVersion(bareEncoder{serializer}, gv)
}

type bareEncoder struct{ runtime.Serializer }

// Encode writes a copy of the object that has its kind only.
func (e bareEncoder) Encode(obj runtime.Object, w io.Writer) error {
	obj = obj.DeepCopyObject()
	gvk := obj.GetObjectKind().GroupVersionKind()
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{Kind: gvk.Kind})
	return e.Serializer.Encode(obj, w)
}

// Identifier tells its encodings from others'.
func (e bareEncoder) Identifier() runtime.Identifier { return "bare:" + e.Serializer.Identifier() }
