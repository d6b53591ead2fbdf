package resource

import (
	"bytes"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	kjson "sigs.k8s.io/json"

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

var storageJSON = json.NewSerializerWithOptions(storedMeta{}, Scheme, Scheme, json.SerializerOptions{})

// schemeCodec is the codec of a built-in kind: its types are in the scheme.
type schemeCodec struct{ kind *Kind }

func (c schemeCodec) New() runtime.Object     { return c.kind.New() }
func (c schemeCodec) NewList() runtime.Object { return c.kind.NewList() }

func (c schemeCodec) Decode(document []byte) (runtime.Object, error) {
	gvk := c.kind.GVK
	versioned, err := Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("decoding %s: %w", gvk.Kind, err)
	}
	if _, _, err := storageJSON.Decode(document, nil, versioned); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", gvk.Kind, err)
	}
	Scheme.Default(versioned)
	internal := c.kind.New()
	if err := Scheme.Convert(versioned, internal, nil); err != nil {
		return nil, fmt.Errorf("converting %s: %w", gvk.Kind, err)
	}
	return internal, nil
}

func (c schemeCodec) Encode(obj runtime.Object) ([]byte, error) {
	gvk := c.kind.GVK
	accessor, err := meta.Accessor(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", gvk.Kind, err)
	}
	revision := accessor.GetResourceVersion()
	accessor.SetResourceVersion("")
	defer accessor.SetResourceVersion(revision)
	versioned, err := Scheme.UnsafeConvertToVersion(obj, gvk.GroupVersion())
	if err != nil {
		return nil, fmt.Errorf("converting %s: %w", gvk.Kind, err)
	}
	versioned.GetObjectKind().SetGroupVersionKind(gvk)
	out := scratch.Get().(*bytes.Buffer)
	defer scratch.Put(out)
	out.Reset()
	if err := storageJSON.Encode(versioned, out); err != nil {
		return nil, fmt.Errorf("encoding %s: %w", gvk.Kind, err)
	}
	// Views keep these bytes: not a buffer that grew by doubling.
	return bytes.Clone(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil
}

var scratch = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (c schemeCodec) As(document []byte, gv schema.GroupVersion) (runtime.Object, error) {
	gvk := c.kind.ServedKind(gv)
	if gv == c.kind.GVR.GroupVersion() {
		obj, err := Scheme.New(gvk)
		if err != nil {
			return nil, fmt.Errorf("decoding %s: %w", gvk.Kind, err)
		}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(document, obj); err != nil {
			return nil, fmt.Errorf("decoding %s: %w", gvk.Kind, err)
		}
		return obj, nil
	}
	internal, err := c.Decode(document)
	if err != nil {
		return nil, err
	}
	obj, err := Scheme.UnsafeConvertToVersion(internal, gv)
	if err != nil {
		return nil, fmt.Errorf("converting %s: %w", gvk.Kind, err)
	}
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

// Direct: documents are stored as the storage version shows them, defaults included.
func (c schemeCodec) Direct(_ []byte, _ uint64, gv schema.GroupVersion) bool {
	return gv == c.kind.GVR.GroupVersion()
}

var schemePatchTypes = []string{
	string(types.JSONPatchType), string(types.MergePatchType),
	string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType),
}

func (c schemeCodec) Machinery(gv schema.GroupVersion, _ string) *Machinery {
	return SchemeMachinery(gv.Group)
}

// SchemeMachinery is that of every kind of a group whose types are in the scheme.
func SchemeMachinery(group string) *Machinery {
	return &Machinery{
		Serializer: Codecs, ParameterCodec: ParameterCodec,
		Creater: Scheme, Convertor: Scheme, UnsafeConvertor: runtime.UnsafeObjectConvertor(Scheme), Defaulter: Scheme, Typer: Scheme,
		Hub:        schema.GroupVersion{Group: group, Version: runtime.APIVersionInternal},
		PatchTypes: schemePatchTypes,
	}
}
