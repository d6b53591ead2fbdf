package custom

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/runtime/serializer/versioning"

	"kubus.dev/gateway/internal/resource"
)

// negotiated is the serializer of requests on a custom resource.
type negotiated struct {
	d     *Definition
	media []runtime.SerializerInfo
}

func (n negotiated) SupportedMediaTypes() []runtime.SerializerInfo { return n.media }

func (n negotiated) EncoderForVersion(encoder runtime.Encoder, gv runtime.GroupVersioner) runtime.Encoder {
	scheme := resource.Scheme
	return versioning.NewCodec(encoder, nil, lazyConvertor{d: n.d}, scheme, scheme, scheme, gv, nil, "custom")
}

func (n negotiated) DecoderToVersion(decoder runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	serializer, ok := decoder.(*json.Serializer)
	coercing := coercingDecoder{Decoder: decoder, d: n.d, strict: ok && serializer.IsStrict()}
	scheme := resource.Scheme
	return versioning.NewCodec(nil, coercing, runtime.UnsafeObjectConvertor(scheme), scheme, scheme, defaulter{n.d, scheme}, nil, gv, "custom")
}

// mediaTypes are those of custom resources. Protobuf is for answers that are not of
// the custom type, such as PartialObjectMetadata.
func mediaTypes(typer runtime.ObjectTyper) []runtime.SerializerInfo {
	with := func(o json.SerializerOptions) *json.Serializer {
		return json.NewSerializerWithOptions(json.DefaultMetaFactory, creater{}, typer, o)
	}
	message := protobuf.NewSerializerWithOptions(creater{}, typer, protobuf.SerializerOptions{StreamingCollectionsEncoding: true})
	return []runtime.SerializerInfo{
		{
			MediaType: runtime.ContentTypeJSON, MediaTypeType: "application", MediaTypeSubType: "json", EncodesAsText: true,
			Serializer:       with(json.SerializerOptions{StreamingCollectionsEncoding: true}),
			PrettySerializer: with(json.SerializerOptions{Pretty: true}),
			StrictSerializer: with(json.SerializerOptions{Strict: true, StreamingCollectionsEncoding: true}),
			StreamSerializer: &runtime.StreamSerializerInfo{EncodesAsText: true, Serializer: with(json.SerializerOptions{}), Framer: json.Framer},
		},
		{
			MediaType: runtime.ContentTypeYAML, MediaTypeType: "application", MediaTypeSubType: "yaml", EncodesAsText: true,
			Serializer:       with(json.SerializerOptions{Yaml: true}),
			StrictSerializer: with(json.SerializerOptions{Yaml: true, Strict: true}),
		},
		{
			MediaType: runtime.ContentTypeProtobuf, MediaTypeType: "application", MediaTypeSubType: "vnd.kubernetes.protobuf",
			Serializer:       message,
			StrictSerializer: message, // which refuses a body of the custom type; without one upstream panics
			StreamSerializer: &runtime.StreamSerializerInfo{Serializer: protobuf.NewRawSerializer(creater{}, typer), Framer: protobuf.LengthDelimitedFramer},
		},
	}
}
