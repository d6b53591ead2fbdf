package resource

import (
	"bytes"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	// Each install adds a group's types, conversions, defaults and validation.
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/authentication/install"
	_ "k8s.io/kubernetes/pkg/apis/authorization/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/certificates/install"
	_ "k8s.io/kubernetes/pkg/apis/coordination/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/discovery/install"
	_ "k8s.io/kubernetes/pkg/apis/events/install"
	_ "k8s.io/kubernetes/pkg/apis/flowcontrol/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/node/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	_ "k8s.io/kubernetes/pkg/apis/resource/install"
	_ "k8s.io/kubernetes/pkg/apis/scheduling/install"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	_ "k8s.io/kubernetes/pkg/apis/storagemigration/install"
)

// Scheme, Codecs and ParameterCodec are upstream's, with the groups above.
var (
	Scheme         = legacyscheme.Scheme
	Codecs         = legacyscheme.Codecs
	ParameterCodec = legacyscheme.ParameterCodec
)

var storageJSON = json.NewSerializerWithOptions(json.DefaultMetaFactory, Scheme, Scheme, json.SerializerOptions{})

// Decode reads an object of kind k as the log keeps it (Entry.AppendJSON, so
// that it carries its resourceVersion), defaults it and gives the internal
// version. The result is the caller's own.
func (k *Kind) Decode(data []byte) (runtime.Object, error) {
	versioned, err := Scheme.New(k.GVK)
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", k.GVK.Kind, err)
	}
	if _, _, err := storageJSON.Decode(data, nil, versioned); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", k.GVK.Kind, err)
	}
	Scheme.Default(versioned)
	internal := k.New()
	if err := Scheme.Convert(versioned, internal, nil); err != nil {
		return nil, fmt.Errorf("converting %s: %w", k.GVK.Kind, err)
	}
	return internal, nil
}

// Encode gives the canonical form that the log keeps: JSON of the storage
// version, kind, apiVersion and metadata first, without resourceVersion. obj is
// of the internal version and is left as it was.
func (k *Kind) Encode(obj runtime.Object) ([]byte, error) {
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", k.GVK.Kind, err)
	}
	revision := accessor.GetResourceVersion()
	accessor.SetResourceVersion("")
	defer accessor.SetResourceVersion(revision)
	versioned, err := Scheme.UnsafeConvertToVersion(obj, k.GVK.GroupVersion())
	if err != nil {
		return nil, fmt.Errorf("converting %s: %w", k.GVK.Kind, err)
	}
	versioned.GetObjectKind().SetGroupVersionKind(k.GVK)
	out := scratch.Get().(*bytes.Buffer)
	defer scratch.Put(out)
	out.Reset()
	if err := storageJSON.Encode(versioned, out); err != nil {
		return nil, fmt.Errorf("encoding %s: %w", k.GVK.Kind, err)
	}
	// Views keep these bytes: not a buffer that grew by doubling.
	return bytes.Clone(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil
}

var scratch = sync.Pool{New: func() any { return new(bytes.Buffer) }}
