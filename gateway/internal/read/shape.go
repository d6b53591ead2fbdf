package read

import (
	"fmt"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
)

type format uint8

const (
	formatJSON format = iota + 1
	formatYAML
	formatProtobuf
)

type transform uint8

const (
	asObject transform = iota + 1
	asTable
	asPartial
)

// shape is what the client asked to be answered with.
type shape struct {
	format    format
	transform transform
	meta      schema.GroupVersion // of Table and PartialObjectMetadata
	list      bool                // of asPartial: PartialObjectMetadataList was asked for
	pretty    bool
	mediaType string
}

var plainJSON = shape{format: formatJSON, transform: asObject, mediaType: runtime.ContentTypeJSON}

// restrictions are upstream's for a kind. standard narrows the media types of what
// is not transformed; nil does not.
type restrictions struct{ standard []runtime.SerializerInfo }

func (r restrictions) AllowsMediaTypeTransform(mimeType, mimeSubType string, gvk *schema.GroupVersionKind) bool {
	if gvk == nil {
		return r.standard == nil || slices.ContainsFunc(r.standard, func(info runtime.SerializerInfo) bool {
			return info.MediaTypeType == mimeType && info.MediaTypeSubType == mimeSubType
		})
	}
	if gv := gvk.GroupVersion(); gv != metav1.SchemeGroupVersion && gv != metav1beta1.SchemeGroupVersion {
		return false
	}
	switch gvk.Kind {
	case "Table":
		return mimeType == "application" && (mimeSubType == "json" || mimeSubType == "yaml")
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return true
	}
	return false
}
func (restrictions) AllowsServerVersion(version string) bool { return version == "v1" }
func (restrictions) AllowsStreamSchema(s string) bool        { return s == "watch" }

// negotiate chooses the shape; stream says that it must be one that can be
// streamed. The error is upstream's 406.
func (c *collection) negotiate(req *http.Request, stream bool) (shape, error) {
	switch req.Header.Get("Accept") {
	case "", "application/json", "application/json, */*", "*/*":
		s := plainJSON
		s.pretty = !stream && wantsPretty(req)
		return s, nil
	}
	options, info, err := negotiation.NegotiateOutputMediaType(req, c.types.Serializer, restrictions{c.types.Standard})
	if err != nil {
		return shape{}, err
	}
	if stream {
		if info, err = negotiation.NegotiateOutputMediaTypeStream(req, c.types.Serializer, restrictions{c.types.Standard}); err != nil {
			return shape{}, err
		}
	}
	s := shape{transform: asObject, mediaType: info.MediaType, pretty: !stream && (options.Pretty || wantsPretty(req))}
	switch info.MediaType {
	case runtime.ContentTypeYAML:
		s.format = formatYAML
	case runtime.ContentTypeProtobuf:
		s.format = formatProtobuf
	default:
		s.format = formatJSON
	}
	if options.Convert != nil {
		s.meta = options.Convert.GroupVersion()
		s.transform = asPartial
		s.list = options.Convert.Kind == "PartialObjectMetadataList"
		if options.Convert.Kind == "Table" {
			s.transform = asTable
		}
	}
	return s, nil
}

// partialKindFits says whether the asked-for PartialObjectMetadata form suits what
// is answered; upstream refuses one for a list and the list form for one object.
func (c *collection) partialKindFits(req *http.Request, list bool) error {
	options, _, err := negotiation.NegotiateOutputMediaType(req, c.types.Serializer, restrictions{c.types.Standard})
	if err != nil || options.Convert == nil {
		return err
	}
	switch {
	case options.Convert.Kind == "PartialObjectMetadata" && list:
		return notAcceptable(fmt.Sprintf("you requested PartialObjectMetadata, but the requested object is a list (%T)", c.kind.Codec.NewList()))
	case options.Convert.Kind == "PartialObjectMetadataList" && !list:
		return notAcceptable(fmt.Sprintf("you requested PartialObjectMetadataList, but the requested object is not a list (%T)", c.kind.Codec.New()))
	}
	return nil
}
