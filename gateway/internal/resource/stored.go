package resource

import (
	"bytes"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"

	"kubus.dev/proto/skim"
)

// storedMeta tells what a stored document is of. Upstream's factory decodes the whole of
// it for that, which is half the work of decoding a large one; in what the gateway wrote
// the two members stand in front.
type storedMeta struct{}

// Interpret is upstream's json.MetaFactory.
func (storedMeta) Interpret(data []byte) (*schema.GroupVersionKind, error) {
	version, kind := plain(skim.Lookup(data, "apiVersion")), plain(skim.Lookup(data, "kind"))
	if version == "" || kind == "" {
		return json.DefaultMetaFactory.Interpret(data)
	}
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		return nil, err
	}
	gvk := gv.WithKind(kind)
	return &gvk, nil
}

// plain is the content of a JSON string without escapes; "" for anything else.
func plain(raw []byte) string {
	if len(raw) < 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return ""
	}
	return string(raw[1 : len(raw)-1])
}
