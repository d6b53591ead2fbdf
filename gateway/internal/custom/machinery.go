package custom

import (
	"sync"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/crdserverscheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/scale"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"kubus.dev/gateway/internal/resource"
)

// patchTypes: there is no strategic merge of types that are not known.
var patchTypes = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType)}

// Machinery is upstream's request scope of a custom resource (crdHandler's), but that
// schemas and converters are made when they are first needed.
func (c *codec) Machinery(_ schema.GroupVersion, subresource string) *resource.Machinery {
	if subresource != "scale" {
		return c.machinery()
	}
	scaled := *c.machinery()
	scaled.Serializer = scaleCodecs()
	return &scaled
}

// scaleCodecs read and write Scales of all groups that have or had them.
var scaleCodecs = sync.OnceValue(func() serializer.CodecFactory { return serializer.NewCodecFactory(scale.NewScaleConverter().Scheme()) })

func (c *codec) newMachinery() *resource.Machinery {
	options := optionTypes(c.gv)
	typer := objectTyper{options}
	m := &resource.Machinery{
		Serializer: negotiated{d: c.d, media: mediaTypes(typer)}, ParameterCodec: runtime.NewParameterCodec(options),
		Creater: creater{}, Convertor: lazyConvertor{d: c.d}, UnsafeConvertor: lazyConvertor{d: c.d, unsafe: true}, Typer: typer,
		Defaulter: defaulter{d: c.d, others: options}, Hub: c.gv, PatchTypes: patchTypes,
	}
	for _, info := range m.Serializer.SupportedMediaTypes() {
		if info.MediaType != runtime.ContentTypeProtobuf {
			m.Standard = append(m.Standard, info)
		}
	}
	m.FieldManager = func(gvk schema.GroupVersionKind, subresource string, reset map[fieldpath.APIVersion]fieldpath.Filter) (*managedfields.FieldManager, error) {
		return managedfields.NewDefaultCRDFieldManager(&c.d.types, m.Convertor, m.Defaulter, m.Creater, gvk, m.Hub, subresource, reset)
	}
	return m
}

// optionTypes are the types of queries, which stand beside objects in a version.
func optionTypes(gv schema.GroupVersion) *runtime.Scheme {
	out := runtime.NewScheme()
	out.AddUnversionedTypes(gv, &metav1.ListOptions{}, &metav1.GetOptions{}, &metav1.DeleteOptions{})
	return out
}

// objectTyper tells the type of unstructured objects, and of options.
type objectTyper struct{ options runtime.ObjectTyper }

var unstructuredTyper = crdserverscheme.NewUnstructuredObjectTyper()

func (t objectTyper) ObjectKinds(obj runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	if _, ok := obj.(runtime.Unstructured); ok {
		return unstructuredTyper.ObjectKinds(obj)
	}
	return t.options.ObjectKinds(obj)
}

func (t objectTyper) Recognizes(gvk schema.GroupVersionKind) bool {
	return t.options.Recognizes(gvk) || unstructuredTyper.Recognizes(gvk)
}

// creater makes unstructured objects of any kind.
type creater struct{}

func (creater) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// defaulter defaults objects of the definition by their version's schema, and others
// as others does.
type defaulter struct {
	d      *Definition
	others runtime.ObjectDefaulter
}

func (f defaulter) Default(in runtime.Object) {
	u, ok := in.(runtime.Unstructured)
	gvk := in.GetObjectKind().GroupVersionKind()
	if !ok || gvk.Group != f.d.crd.Spec.Group || gvk.Kind != f.d.crd.Status.AcceptedNames.Kind {
		f.others.Default(in)
		return
	}
	// An error has been told when the object was decoded.
	if s, err := f.d.structural(gvk.Version); err == nil {
		structuraldefaulting.Default(u.UnstructuredContent(), s)
	}
}

// lazyConvertor is the definition's converter, made at its first use.
type lazyConvertor struct {
	d      *Definition
	unsafe bool
}

func (l lazyConvertor) real() (runtime.ObjectConvertor, error) {
	both, err := l.d.converters()
	if l.unsafe {
		return both.unsafe, err
	}
	return both.safe, err
}

func (l lazyConvertor) Convert(in, out, context any) error {
	with, err := l.real()
	if err != nil {
		return err
	}
	return with.Convert(in, out, context)
}

func (l lazyConvertor) ConvertToVersion(in runtime.Object, gv runtime.GroupVersioner) (runtime.Object, error) {
	with, err := l.real()
	if err != nil {
		return nil, err
	}
	return with.ConvertToVersion(in, gv)
}

func (l lazyConvertor) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	with, err := l.real()
	if err != nil {
		return "", "", err
	}
	return with.ConvertFieldLabel(gvk, label, value)
}

// scaleGVK is what a scale subresource takes and answers.
var scaleGVK = autoscalingv1.SchemeGroupVersion.WithKind("Scale")
