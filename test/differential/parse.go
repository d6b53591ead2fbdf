package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"

	apidiscovery "k8s.io/api/apidiscovery/v2"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/yaml"
)

// parse reads a body by its media type; what does not parse is text.
func parse(contentType string, data []byte) any {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	switch mediaType {
	case "application/json":
		if doc, ok := parseJSON(data); ok {
			return doc
		}
	case "application/yaml":
		if converted, err := yaml.YAMLToJSON(data); err == nil {
			if doc, ok := parseJSON(converted); ok {
				return doc
			}
		}
	case "application/vnd.kubernetes.protobuf":
		if doc, ok := parseProtobuf(data); ok {
			return doc
		}
	case "application/cbor":
		if doc, ok := parseCBOR(data); ok {
			return doc
		}
	}
	return string(data)
}

func parseJSON(data []byte) (any, bool) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var doc any
	if err := dec.Decode(&doc); err != nil {
		return nil, false
	}
	return doc, true
}

// types are those of protobuf messages.
var types = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, metav1.AddMetaToScheme, apidiscovery.AddToScheme, apiextensions.AddToScheme, apiregistration.AddToScheme} {
		if err := add(s); err != nil {
			panic("upstream's types do not fit one scheme: " + err.Error())
		}
	}
	return s
}()

var codecs = serializer.NewCodecFactory(types)

var protobufMagic = []byte("k8s\x00")

// parseProtobuf opens Kubernetes' envelope and shows the message as its Go type
// encodes it in JSON, beside what the envelope says.
func parseProtobuf(data []byte) (any, bool) {
	if !bytes.HasPrefix(data, protobufMagic) {
		return nil, false
	}
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(data[len(protobufMagic):]); err != nil {
		return nil, false
	}
	out := map[string]any{"envelope": fmt.Sprintf("%s %s %q %q", unknown.APIVersion, unknown.Kind, unknown.ContentType, unknown.ContentEncoding)}
	obj, _, err := codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		out["message"] = fmt.Sprintf("%d bytes that cannot be decoded", len(unknown.Raw))
		return out, true
	}
	encoded, err := json.Marshal(obj)
	if err != nil {
		return nil, false
	}
	doc, ok := parseJSON(encoded)
	fields, isMap := doc.(map[string]any)
	if !ok || !isMap {
		return nil, false
	}
	for k, v := range fields {
		out[k] = v
	}
	return out, true
}

func parseCBOR(data []byte) (any, bool) {
	var doc any
	if err := direct.Unmarshal(data, &doc); err != nil {
		return nil, false
	}
	encoded, err := json.Marshal(doc)
	if err != nil {
		return nil, false
	}
	return parseJSON(encoded)
}
